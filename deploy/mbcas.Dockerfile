# Everything of MBCAS but the sidecar: webhook, controller, command line, and the demo's lab. Each
# Deployment names its own command. The context holds the static binaries, built beforehand.
FROM scratch
COPY mbcas-webhook mbcas-controller mbcas mbcas-lab /bin/
ENV PATH=/bin
USER 65532:65532
