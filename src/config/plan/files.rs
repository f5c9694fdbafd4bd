//! Static files and echoes in the plan.

use std::path::PathBuf;
use std::sync::Arc;

use super::Guarded;
use crate::config::metric::MetricSet;
use crate::route::{MethodPattern, PathTemplate, Template};

/// An `http-filesystem` proxy.
#[derive(Clone, Debug)]
pub struct HttpFilesystem {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// First match wins; a request that matches none is 404.
    pub routes: Vec<HttpFilesystemRoute>,
}

/// A route of an `http-filesystem` proxy.
#[derive(Clone, Debug)]
pub struct HttpFilesystemRoute {
    /// All of these must let the request pass.
    pub guarded: Vec<Guarded>,
    /// One of these must match; empty: always.
    pub when: Vec<FilesystemWhen>,
    /// The file below the server's directory: `with.path`.
    pub path: Template,
    /// Where the files are.
    pub exit: Arc<FilesystemServer>,
}

/// A condition on a request for a file.
#[derive(Clone, Debug)]
pub struct FilesystemWhen {
    /// The method; `None`: any.
    pub method: Option<MethodPattern>,
    /// The path without its query; `None`: any.
    pub path: Option<PathTemplate>,
}

/// A `filesystem` server.
#[derive(Clone, Debug)]
pub struct FilesystemServer {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The directory: `options.location`, relative to the file of the configuration.
    pub location: PathBuf,
    /// Whether symbolic links are followed (`symlinks: follow`). Those that lead out of the directory never are.
    pub follows_links: bool,
}

/// An `echo` server.
#[derive(Clone, Debug)]
pub struct EchoServer {
    /// The namespace of the binding.
    pub namespace: String,
    /// The name of the binding.
    pub name: String,
    /// The metrics under Zilla's names that it has.
    pub metrics: MetricSet,
}
