//! `http-filesystem` proxies, `filesystem` servers and `echo` servers.

use std::path::PathBuf;

use super::fields::{Fields, Item};
use super::guarded::read_guarded;
use super::http_kafka::read_method;
use super::mistake::Report;
use super::plan::FilesystemWhen;
use super::reference::Exit;
use super::shape::{HttpFilesystemRoute, Kind};
use super::templates::{Templates, params_of_all, read_path};
use super::unsupported::{Choice, Place};
use crate::route::{Allowed, MethodPattern, Template};

/// Reads an `echo server`, which has nothing of its own.
pub(super) fn echo(binding: &mut Fields<'_>, _: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "an echo server has no exit: it is the end of the line",
    );
    Kind::Echo
}

/// Reads the options of a `filesystem server`.
pub(super) fn filesystem(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "a filesystem server has no exit: it is the end of the line",
    );
    let mut location = PathBuf::new();
    let mut follows_links = false;
    if let Some(options) = binding.required(report, "options") {
        let mut options = options.fields(report, Place::Plain);
        if let Some(item) = options.required(report, "location") {
            let path = item.parsed(report, |text| {
                if text.is_empty() || text.contains('\0') {
                    return Err("is no directory".to_owned());
                }
                Ok(PathBuf::from(text))
            });
            location = path.unwrap_or_default();
        }
        if let Some(item) = options.optional("symlinks") {
            let words = [("ignore", false), ("follow", true)];
            follows_links = item.word(report, Choice::Plain, &words).unwrap_or_default();
        }
        options.finish(report);
    }
    Kind::Filesystem {
        location,
        follows_links,
    }
}

/// Reads the routes of an `http-filesystem proxy`.
pub(super) fn proxy(binding: &mut Fields<'_>, report: &mut Report) -> Kind {
    binding.misplaced(
        "exit",
        "an http-filesystem proxy has no exit of its own: each of its routes has one",
    );
    let mut routes = Vec::new();
    if let Some(item) = binding.required(report, "routes") {
        let items = item.list(report);
        if items.is_empty() && item.is_list() {
            item.mistake(report, "the list is empty");
        }
        routes.extend(items.iter().map(|item| read_route(item, report)));
    }
    Kind::HttpFilesystem { routes }
}

fn read_route(item: &Item<'_>, report: &mut Report) -> HttpFilesystemRoute {
    let mut route = item.fields(report, Place::Plain);
    let guarded = read_guarded(&mut route, report);
    let readable = report.mistake_count();
    let mut when = Vec::new();
    for item in route.list(report, "when") {
        when.push(read_when(&item, report));
    }
    let params = (report.mistake_count() == readable)
        .then(|| params_of_all(when.iter().map(|when| when.path.as_ref())));
    let mut path = None;
    if let Some(with) = route.required(report, "with") {
        let mut with = with.fields(report, Place::FilesystemWith);
        // A route by `directory` alone is refused for that; the file it lacks is no second mistake.
        let item = if with.has("directory") {
            with.optional("path")
        } else {
            with.required(report, "path")
        };
        path = item.and_then(|item| read_file_path(&item, params, report));
        with.finish(report);
    }
    let exit = Exit::required(&mut route, report);
    route.finish(report);
    HttpFilesystemRoute {
        guarded,
        when,
        path,
        exit,
    }
}

fn read_when(item: &Item<'_>, report: &mut Report) -> FilesystemWhen {
    let mut fields = item.fields(report, Place::Plain);
    let method = read_method(&mut fields, report);
    let is_readable = |method: &MethodPattern| method.matches("GET") || method.matches("HEAD");
    if let Some(item) = fields.optional("method")
        && method.as_ref().is_some_and(|method| !is_readable(method))
    {
        item.mistake(
            report,
            "other methods than `GET` and `HEAD` are not supported yet",
        );
    }
    let path = read_path(&mut fields, report);
    fields.finish(report);
    FilesystemWhen { method, path }
}

/// The path of a file below the server's directory.
fn read_file_path(
    item: &Item<'_>,
    params: Option<Vec<String>>,
    report: &mut Report,
) -> Option<Template> {
    let path = Templates::new(params).read(item, Allowed::PARAMS, report)?;
    let leads_out = |text: &str| text.split('/').any(|step| step == "..");
    if path.literals().any(leads_out) {
        item.mistake(report, "leads out of the directory");
    }
    Some(path)
}
