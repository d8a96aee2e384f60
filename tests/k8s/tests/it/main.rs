//! The manifests of `k8s/` as they are written, and as they run.

mod cluster;
mod compose;
mod manifests;
mod policy;
