//! The process of a pod's sandbox: it holds the pod's namespaces and does nothing else.
//!
//! Kubernetes' own image for this would have to come from a registry. Nothing in a pod becomes a
//! child of this process (each container has its own PID 1), so there is nobody to reap. It does
//! not handle SIGTERM: as PID 1 it would have to say so, and the container runtime ends a sandbox
//! with SIGKILL once its containers are gone.

fn main() {
    loop {
        // May return without cause, hence the loop.
        std::thread::park();
    }
}
