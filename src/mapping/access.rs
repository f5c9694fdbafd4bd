//! What a request may do: routes ask, sessions answer.
//!
//! The same at every binding that has guarded routes: a route that does not let the request pass is as one that does not match, and where nothing else matches the
//! request is refused, not "not found".

use std::borrow::Cow;

use super::request::Request;
use crate::config::{
    GrpcClientRoute, GrpcKafkaRoute, GrpcRoute, Guarded, HttpFilesystemRoute, HttpKafkaRoute,
    HttpRoute, SseKafkaRoute, SseRoute,
};
use crate::error::RequestError;

/// Who asks, as far as is known.
pub trait Access {
    /// Whether every one of `guarded` lets a request with this method and path pass.
    fn may_pass(&self, guarded: &[Guarded], method: &str, path: &[u8]) -> bool;
    /// Why a request does not pass where others would.
    fn refusal(&self) -> RequestError;
    /// The identity that a guard, by its number in the plan, knows the request under.
    fn identity(&self, guard: usize) -> Option<Cow<'_, [u8]>>;
    /// What a guard knows of it besides.
    fn attribute(&self, guard: usize, name: &str) -> Option<Cow<'_, [u8]>>;
}

/// Somebody of whom nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Anybody;

impl Access for Anybody {
    fn may_pass(&self, guarded: &[Guarded], _method: &str, _path: &[u8]) -> bool {
        guarded.is_empty()
    }

    fn refusal(&self) -> RequestError {
        RequestError::Unauthorized {
            challenge: "Bearer",
        }
    }

    fn identity(&self, _guard: usize) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn attribute(&self, _guard: usize, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// A route that may be guarded.
pub(super) trait GuardedRoute {
    /// All of these must let the request pass.
    fn guarded(&self) -> &[Guarded];
}

macro_rules! guarded_route {
    ($($route:ty),*) => {$(
        impl GuardedRoute for $route {
            fn guarded(&self) -> &[Guarded] {
                &self.guarded
            }
        }
    )*};
}
guarded_route!(
    GrpcClientRoute,
    GrpcKafkaRoute,
    GrpcRoute,
    HttpRoute,
    HttpKafkaRoute,
    HttpFilesystemRoute,
    SseRoute,
    SseKafkaRoute
);

/// The first route that `take`s the request and lets the request pass.
///
/// # Errors
///
/// The refusal when one matches and none lets it pass; [`RequestError::NoRoute`] when none matches.
pub(super) fn select<'r, R: GuardedRoute, M>(
    routes: &'r [R],
    request: Request<'_>,
    access: &dyn Access,
    take: impl Fn(&'r R) -> Option<M>,
) -> Result<(&'r R, M), RequestError> {
    let mut is_barred = false;
    for route in routes {
        let Some(matched) = take(route) else {
            continue;
        };
        let guarded = route.guarded();
        if guarded.is_empty() || access.may_pass(guarded, request.method(), request.path()) {
            return Ok((route, matched));
        }
        is_barred = true;
    }
    Err(if is_barred {
        access.refusal()
    } else {
        RequestError::NoRoute
    })
}
