//! `.proto` files to services: which methods there are, what streams, and the descriptors that reflection gives out.
//!
//! Between the configuration, which reads the files, and the routes of calls. Its one rule: nothing is read from disk here; what a file imports
//! is asked of the caller, and what Google's own files say is known.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};

mod descriptors;
mod mistake;
mod own;
#[cfg(test)]
mod tests;

pub use descriptors::Descriptors;
pub use mistake::ProtoMistake;

/// How many files may be imported in all; an import that makes up its own imports would never end.
const FILES_MAX: usize = 1_000;

/// A `.proto` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtoFile {
    /// What imports call it, and mistakes in it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// Neither.
    Unary,
    /// The client's.
    ClientStreaming,
    /// The server's.
    ServerStreaming,
    /// Both.
    Bidi,
}

impl MethodKind {
    fn of(client_streaming: bool, server_streaming: bool) -> Self {
        match (client_streaming, server_streaming) {
            (false, false) => Self::Unary,
            (true, false) => Self::ClientStreaming,
            (false, true) => Self::ServerStreaming,
            (true, true) => Self::Bidi,
        }
    }

    /// Whether a client may send other than one message.
    pub const fn is_client_streaming(self) -> bool {
        matches!(self, Self::ClientStreaming | Self::Bidi)
    }

    /// Whether a server may send other than one message.
    pub const fn is_server_streaming(self) -> bool {
        matches!(self, Self::ServerStreaming | Self::Bidi)
    }
}

/// A method of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its service with the package, as in a path: `grpc.examples.echo.Echo`.
    pub service: Arc<str>,
    /// Its name, as in a path: `UnaryEcho`.
    pub name: String,
    /// What streams.
    pub kind: MethodKind,
    /// The type of the client's messages, with the package.
    pub input: String,
    /// The type of the server's messages, with the package.
    pub output: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name with the package.
    pub name: Arc<str>,
    /// Its methods in the order of the file.
    pub methods: Vec<Method>,
}

/// The services of some files, and the descriptors of those and of all that they import.
#[derive(Clone, Default)]
pub struct Services {
    served: Vec<Service>,
    by_name: HashMap<Arc<str>, usize>,
    descriptors: Descriptors,
    own: Descriptors,
}

impl Services {
    /// Compiles `files`. What they import and is neither among them nor one of `google/protobuf/` is asked of `import`, once each, by its name in the import.
    /// Services of a file that is only imported are not served.
    ///
    /// # Errors
    ///
    /// All mistakes that were found, in the order of files and lines.
    pub fn compile(
        files: &[ProtoFile],
        import: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Self, Vec<ProtoMistake>> {
        // Apart from the others: a configuration may well have the same files under other names.
        let own = compile(&own::files(), &mut |_| None)?;
        Ok(Self::over(files, compile(files, import)?, own))
    }

    fn over(files: &[ProtoFile], descriptors: Descriptors, own: Descriptors) -> Self {
        let served: Vec<_> = files
            .iter()
            .flat_map(|file| descriptors.services_of(&file.name))
            .collect();
        let by_name = served
            .iter()
            .enumerate()
            .map(|(index, service)| (Arc::clone(&service.name), index))
            .collect();
        Self {
            served,
            by_name,
            descriptors,
            own,
        }
    }

    /// The service called `name`, with its package.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.by_name.get(name).map(|&index| &self.served[index])
    }

    /// Whether there is a service called `name`.
    pub fn has_service(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// A method by the two parts of its path.
    pub fn method(&self, service: &str, method: &str) -> Option<&Method> {
        let service = self.service(service)?;
        service.methods.iter().find(|known| known.name == method)
    }

    /// All services, in the order of files and within them.
    pub fn iter(&self) -> std::slice::Iter<'_, Service> {
        self.served.iter()
    }

    /// What is known of their types.
    pub fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    /// What is known of the services that the gateway offers itself, health and reflection. Nothing unless this was compiled.
    pub fn own_descriptors(&self) -> &Descriptors {
        &self.own
    }
}

impl<'s> IntoIterator for &'s Services {
    type Item = &'s Service;
    type IntoIter = std::slice::Iter<'s, Service>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.served).finish()
    }
}

/// Compiles `files` and what they import.
fn compile(
    files: &[ProtoFile],
    import: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<Descriptors, Vec<ProtoMistake>> {
    let mut sources = Sources::default();
    let mistakes = sources.add_all(files, import);
    if !mistakes.is_empty() {
        return Err(in_order(mistakes));
    }
    let mut mistakes = Vec::new();
    let sources = Arc::new(sources);
    let mut compiler = Compiler::with_file_resolver(Resolver {
        sources: Arc::clone(&sources),
        google: GoogleFileResolver::new(),
    });
    compiler.include_imports(true).include_source_info(false);
    for file in files {
        if let Err(error) = compiler.open_file(&file.name) {
            mistakes.extend(mistake::mistakes(&error, &file.name, |name| {
                sources.text(name)
            }));
        }
    }
    if !mistakes.is_empty() {
        return Err(in_order(mistakes));
    }
    Ok(Descriptors::of(&compiler))
}

/// By file and line, each once: a file that is wrong is so wherever it is imported.
fn in_order(mut mistakes: Vec<ProtoMistake>) -> Vec<ProtoMistake> {
    mistakes.sort();
    mistakes.dedup();
    mistakes
}

/// All files that there are, parsed.
#[derive(Default)]
struct Sources {
    files: HashMap<String, File>,
    /// Imports still to be looked for.
    wanted: Vec<String>,
}

impl Sources {
    /// Parses `files` and what they import. What cannot be found is left to the compiler, which knows where it is imported.
    fn add_all(
        &mut self,
        files: &[ProtoFile],
        import: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Vec<ProtoMistake> {
        let mut mistakes = Vec::new();
        for file in files {
            if self.files.contains_key(&file.name) {
                mistakes.push(whole_file(&file.name, "there are two files of this name"));
            } else {
                mistakes.extend(self.add(&file.name, &file.text));
            }
        }
        let google = GoogleFileResolver::new();
        let mut asked = HashSet::new();
        while let Some(name) = self.wanted.pop() {
            let is_known = self.files.contains_key(&name) || google.open_file(&name).is_ok();
            if is_known || !asked.insert(name.clone()) {
                continue;
            }
            if asked.len() > FILES_MAX {
                let message = format!("more than {FILES_MAX} files are imported");
                mistakes.push(whole_file(&name, &message));
                break;
            }
            if let Some(text) = import(&name) {
                mistakes.extend(self.add(&name, &text));
            }
        }
        mistakes
    }

    fn add(&mut self, name: &str, text: &str) -> Vec<ProtoMistake> {
        match File::from_source(name, text) {
            Ok(file) => {
                let imports = file.file_descriptor_proto().dependency.iter();
                self.wanted.extend(imports.cloned());
                self.files.insert(name.to_owned(), file);
                Vec::new()
            }
            Err(error) => mistake::mistakes(&error, name, |_| Some(text)),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name)?.source()
    }
}

fn whole_file(file: &str, message: &str) -> ProtoMistake {
    ProtoMistake {
        file: file.to_owned(),
        line: 1,
        column: 1,
        message: message.to_owned(),
    }
}

/// Gives the compiler what was found for it.
struct Resolver {
    sources: Arc<Sources>,
    google: GoogleFileResolver,
}

impl FileResolver for Resolver {
    /// A name is used as it stands: it is no path here, and may look like one above or outside of the configuration.
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.sources.files.get(name) {
            Some(file) => Ok(file.clone()),
            None => self.google.open_file(name),
        }
    }
}
