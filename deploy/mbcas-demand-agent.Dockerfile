# The sidecar. It runs in every pod of a labelled namespace, so it holds one small static binary.
FROM scratch
COPY mbcas-demand-agent /bin/mbcas-demand-agent
ENV PATH=/bin
# The C library keeps buffers that were freed, in case they are needed again: 40 kB in every pod. These are few and
# seldom. And it gives each thread a heap of its own, which is 8 kB for one that allocates at its start only.
ENV GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=8192
USER 65532:65532
ENTRYPOINT ["/bin/mbcas-demand-agent"]
