# The sidecar. It runs in every pod of a labelled namespace, so it holds one small static binary.
FROM scratch
COPY mbcas-demand-agent /bin/mbcas-demand-agent
ENV PATH=/bin
# The C library keeps buffers that were freed, in case they are needed again, and asks the kernel for more at a time than
# it needs: 60 kB in every pod. These are few and seldom. And it gives each thread a heap of its own, which one that
# allocates at its start only does not need.
ENV GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=4096:glibc.malloc.trim_threshold=4096:glibc.malloc.top_pad=4096
USER 65532:65532
ENTRYPOINT ["/bin/mbcas-demand-agent"]
