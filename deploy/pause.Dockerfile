# The sandbox of every pod on the local cluster. The context holds one static binary.
FROM scratch
COPY pause /pause
USER 65532:65532
ENTRYPOINT ["/pause"]
