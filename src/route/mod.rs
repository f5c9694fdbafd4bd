//! Choosing a route and filling in its values: compiled patterns and templates.
//!
//! Sits between `auth` and `mapping`; `config` compiles what is here when it loads, requests only run it. Sans-IO, no
//! configuration types. Its one rule: work per request is near-linear in the request, whatever the client sends.

mod body_pointer;
mod expression;
mod glob;
mod location;
mod path;
mod pattern;
pub(crate) mod percent;
mod query;
mod template;
mod topic;

pub use body_pointer::BodyPointer;
pub use expression::{Allowed, ExpressionFault};
pub(crate) use glob::Braces;
pub use glob::{Glob, PatternFault};
pub use location::LocationPattern;
pub use path::{CAPTURES_MAX, Params, PathTemplate};
pub use pattern::{HeaderPattern, MethodPattern};
pub use query::{find_parameter, split_query};
pub use template::{Missing, Scope, Template};
pub use topic::{TOPIC_BYTES_MAX, TopicFault, check_topic};
