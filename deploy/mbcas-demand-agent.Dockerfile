# The sidecar. It runs in every pod of a labelled namespace, so it holds one small static binary.
FROM scratch
COPY mbcas-demand-agent /bin/mbcas-demand-agent
ENV PATH=/bin
USER 65532:65532
ENTRYPOINT ["/bin/mbcas-demand-agent"]
