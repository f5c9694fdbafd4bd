//! One core's metadata task, as `kafka/client/metadata_task` is it on real sockets.
//!
//! Sits beside the lanes of a shell. Its one rule: the same calls in the same order as there, awaits turned into states.

use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest};

use super::checker::Checker;
use super::event::{CallId, ConnectionId, Endpoint, EndpointEvent, Purpose, Request, Response};
use super::fabric::Fabric;
use super::shell::{Shell, reconnect_wait};
use crate::clock::Instant;

/// The brokers the configuration names.
const SERVERS: [i32; 1] = [1];

#[derive(Debug, Default)]
pub(super) struct MetadataTask {
    state: State,
    connection: Option<ConnectionId>,
    attempts: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    Connecting {
        request: MetadataRequest,
        others: Vec<i32>,
    },
    Asking {
        request: MetadataRequest,
        call: CallId,
    },
    Describing {
        request: DescribeConfigsRequest,
        call: CallId,
        seen: Vec<String>,
    },
    Pausing {
        until: Instant,
    },
}

impl MetadataTask {
    /// What the task does when what it awaits comes.
    pub(super) fn handle(
        shell: &mut Shell,
        event: EndpointEvent,
        checker: &mut Checker,
        fabric: &mut Fabric,
    ) {
        let mut task = shell.metadata_task.take().expect("it does not call itself");
        let state = std::mem::take(&mut task.state);
        task.state = task.next_state(state, event, shell, checker, fabric);
        if matches!(task.state, State::Waiting) {
            task.run(shell, fabric);
        }
        shell.metadata_task = Some(task);
    }

    fn next_state(
        &mut self,
        state: State,
        event: EndpointEvent,
        shell: &mut Shell,
        checker: &mut Checker,
        fabric: &mut Fabric,
    ) -> State {
        let endpoint = endpoint(shell);
        match (state, event) {
            (State::Pausing { until }, EndpointEvent::Wake) if until <= fabric.now() => {
                State::Waiting
            }
            (State::Connecting { request, .. }, EndpointEvent::Connected(Some(connection))) => {
                self.connection = Some(connection);
                ask(request, connection, endpoint, fabric)
            }
            (
                State::Connecting {
                    request,
                    mut others,
                },
                EndpointEvent::Connected(None),
            ) => match others.pop() {
                Some(next) => {
                    fabric.connect(endpoint, next);
                    State::Connecting { request, others }
                }
                None => self.pause(&request, shell, fabric),
            },
            (
                State::Asking { call, .. },
                EndpointEvent::Answered(answered, Response::Metadata(response)),
            ) if call == answered => {
                let seen = shell.metadata.handle_response(&response);
                match (shell.metadata.poll_describe(), self.connection) {
                    (Some(request), Some(connection)) => {
                        let call = fabric.call(
                            endpoint,
                            connection,
                            Request::DescribeConfigs(request.clone()),
                        );
                        State::Describing {
                            request,
                            call,
                            seen,
                        }
                    }
                    _ => self.finish(&seen, shell, checker, fabric),
                }
            }
            (
                State::Describing { call, seen, .. },
                EndpointEvent::Answered(answered, Response::DescribeConfigs(response)),
            ) if call == answered => {
                shell.metadata.handle_described(&response);
                self.finish(&seen, shell, checker, fabric)
            }
            (State::Asking { request, call }, EndpointEvent::Lost(lost)) if call == lost => {
                self.pause(&request, shell, fabric)
            }
            (
                State::Describing {
                    request,
                    call,
                    seen,
                },
                EndpointEvent::Lost(lost),
            ) if call == lost => {
                shell.metadata.handle_describe_failure(&request);
                for resource in &request.resources {
                    shell.want(&resource.resource_name, fabric);
                }
                self.finish(&seen, shell, checker, fabric)
            }
            (state, _) => state,
        }
    }

    /// The loop's start: asks, if anything is due.
    fn run(&mut self, shell: &mut Shell, fabric: &mut Fabric) {
        let endpoint = endpoint(shell);
        let Some(request) = shell.metadata.poll_request(fabric.now()) else {
            if let Some(at) = shell.metadata.poll_timeout() {
                fabric.wake(endpoint, at);
            }
            return;
        };
        self.state = if let Some(connection) = self.connection {
            ask(request, connection, endpoint, fabric)
        } else {
            let known = shell.metadata.brokers().map(|(id, _)| id);
            let mut others: Vec<i32> = known.chain(SERVERS).collect();
            others.reverse();
            let first = others.pop().expect("there is a configured server");
            fabric.connect(endpoint, first);
            State::Connecting { request, others }
        };
    }

    fn pause(
        &mut self,
        request: &MetadataRequest,
        shell: &mut Shell,
        fabric: &mut Fabric,
    ) -> State {
        if let Some(connection) = self.connection.take() {
            fabric.close(connection);
        }
        shell.metadata.handle_failure(request);
        let until = fabric.now() + reconnect_wait(self.attempts, fabric.now());
        self.attempts += 1;
        fabric.wake(endpoint(shell), until);
        State::Pausing { until }
    }

    /// `hand_out`, and round again.
    fn finish(
        &mut self,
        seen: &[String],
        shell: &mut Shell,
        checker: &mut Checker,
        fabric: &mut Fabric,
    ) -> State {
        self.attempts = 0;
        let now = fabric.now();
        for name in seen {
            let Some(topic) = shell.metadata.topic(name).cloned() else {
                continue;
            };
            if let Some(policy) = &topic.policy {
                shell
                    .producer
                    .handle_batch_bytes_max(name, policy.batch_bytes_max);
            }
            match topic.error {
                Some(error) => shell.producer.handle_metadata(name, Err(error), now),
                None => shell
                    .producer
                    .handle_metadata(name, Ok(&topic.leaders), now),
            }
            if shell
                .producer
                .unknown_topics()
                .any(|unknown| unknown.as_str() == name)
            {
                shell.metadata.want(name, true);
            }
        }
        shell.drain(checker, fabric);
        State::Waiting
    }
}

fn ask(
    request: MetadataRequest,
    connection: ConnectionId,
    endpoint: Endpoint,
    fabric: &mut Fabric,
) -> State {
    let call = fabric.call(endpoint, connection, Request::Metadata(request.clone()));
    State::Asking { request, call }
}

const fn endpoint(shell: &Shell) -> Endpoint {
    Endpoint {
        core: shell.core,
        purpose: Purpose::Metadata,
    }
}
