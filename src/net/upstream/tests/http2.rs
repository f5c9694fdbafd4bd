//! HTTP/2 with servers of the `h2` crate.

use std::cell::Cell;
use std::future::{Ready, ready};

use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};

use super::*;
use crate::net::adapter::TokioIo;
use crate::net::upstream::UpstreamFault;

/// Serves each connection by `serve`, which gets requests and the number of the connection.
fn serve<F: Future<Output = ()> + 'static>(
    listener: net::Listener,
    builder: Builder,
    serve: impl Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
) -> Rc<Cell<usize>> {
    let connections = Rc::new(Cell::new(0));
    let seen = connections.clone();
    let serve = Rc::new(serve);
    runtime::spawn(async move {
        loop {
            let stream = listener.accept().await;
            let number = seen.get();
            seen.set(number + 1);
            let (builder, serve) = (builder.clone(), serve.clone());
            runtime::spawn(async move {
                let Ok(mut connection) = builder.handshake::<_, Bytes>(TokioIo(stream)).await
                else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    runtime::spawn(serve(number, request, respond));
                }
            });
        }
    });
    connections
}

/// Answers with the path and trailers.
fn echo_path(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Ready<()> {
    let path = request.into_parts().0.uri.path().to_owned();
    let mut sending = respond.send_response(Response::new(()), false).unwrap();
    sending.send_data(path.into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    sending.send_trailers(trailers).unwrap();
    ready(())
}

#[test]
fn many_requests_share_one_connection_and_get_their_own_answers_with_trailers() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let connections = serve(listener, Builder::new(), |_, request, respond| {
            echo_path(request, respond)
        });
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        let mut streams: Vec<_> = ["/a", "/b", "/c", "/d"]
            .into_iter()
            .cycle()
            .take(80)
            .map(|target| {
                (
                    target,
                    upstream.open(request(Method::Get, target), false, soon()),
                )
            })
            .collect();
        for (target, stream) in &mut streams {
            assert_eq!(head(stream).await.unwrap().status, 200);
            let (body, trailers) = rest(stream).await.unwrap();
            assert_eq!(body, target.as_bytes());
            assert_eq!(trailers.unwrap().get("grpc-status"), Some(&b"0"[..]));
        }
        assert_eq!((connections.get(), upstream.connections()), (1, 1));
    });
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let (refusing, socket) = listen();
        drop(socket);
        let connections = serve(listener, Builder::new(), |_, request, respond| {
            echo_path(request, respond)
        });
        let mut plan = plan(address, HttpVersions::H2);
        Arc::make_mut(&mut plan.tcp).host = Some("a.test".into());
        let upstream = upstream(plan, &deadlines);
        let mut stream = upstream.open(request(Method::Get, "/a"), false, soon());
        let pool = upstream.pools.borrow().values().next().cloned().unwrap();
        pool.addresses.keep(&[refusing, address], runtime::now());
        assert_eq!(head(&mut stream).await.unwrap().status, 200);
        assert_eq!(connections.get(), 1);
        assert_eq!(*pool.addresses.found(), [address]);
    });
}

#[test]
fn a_server_that_refuses_is_a_fault_and_so_is_a_name_without_address() {
    on_core(async |deadlines| {
        let (refusing, socket) = listen();
        drop(socket);
        let upstream_of = |plan| upstream(plan, &deadlines);
        let upstream = upstream_of(plan(refusing, HttpVersions::H2));
        let fault = get(&upstream, "/a").await.unwrap_err();
        assert!(matches!(fault, UpstreamFault::Connect(_)), "{fault}");
        assert_eq!((fault.status(), upstream.connections()), (502, 0));
        let mut plan = plan(refusing, HttpVersions::H2);
        Arc::make_mut(&mut plan.tcp).host = Some("no such name".into());
        let fault = get(&upstream_of(plan), "/a").await.unwrap_err();
        assert!(matches!(fault, UpstreamFault::Resolve(_)), "{fault}");
    });
}

#[test]
fn a_connection_that_is_told_to_go_away_takes_no_further_request() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let connections = Rc::new(Cell::new(0));
        let seen = connections.clone();
        runtime::spawn(async move {
            loop {
                let stream = listener.accept().await;
                seen.set(seen.get() + 1);
                runtime::spawn(async move {
                    let mut connection = h2::server::handshake(TokioIo(stream)).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        echo_path(request, respond).await;
                        connection.graceful_shutdown();
                    }
                });
            }
        });
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        for _ in 0..3 {
            assert_eq!(get(&upstream, "/a").await.unwrap(), "/a");
            while upstream.connections() > 0 {
                runtime::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(connections.get(), 3);
    });
}

#[test]
fn what_the_server_has_not_processed_is_sent_once_more_unless_its_body_has_begun() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let refusals = Rc::new(Cell::new(1));
        let left = refusals.clone();
        let _ = serve(listener, Builder::new(), move |_, request, mut respond| {
            let left = left.clone();
            async move {
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    let mut body = request.into_body();
                    if !body.is_end_stream() {
                        let _ = body.data().await;
                    }
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    echo_path(request, respond).await;
                }
            }
        });
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        assert_eq!(get(&upstream, "/a").await.unwrap(), "/a");
        refusals.set(2);
        let twice = get(&upstream, "/a").await.unwrap_err();
        assert!(twice.is_unprocessed(), "{twice}");
        refusals.set(1);
        let mut empty = upstream.open(request(Method::Post, "/empty"), true, soon());
        empty.finish();
        assert_eq!(head(&mut empty).await.unwrap().status, 200);
        assert_eq!(rest(&mut empty).await.unwrap().0, "/empty");
        refusals.set(1);
        let mut stream = upstream.open(request(Method::Post, "/b"), true, soon());
        poll_fn(|context| stream.poll_ready(context)).await.unwrap();
        stream.send_data(Bytes::from_static(b"gone"));
        let begun = head(&mut stream).await.unwrap_err();
        assert!(
            matches!(begun, UpstreamFault::Lost { unprocessed: true }),
            "{begun}"
        );
        assert_eq!(refusals.get(), 0);
    });
}

#[test]
fn a_reset_is_told_with_its_code() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let _ = serve(listener, Builder::new(), |_, _, mut respond| async move {
            respond.send_reset(Reason::ENHANCE_YOUR_CALM);
        });
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        let fault = get(&upstream, "/a").await.unwrap_err();
        assert!(matches!(fault, UpstreamFault::Reset(11)), "{fault}");
    });
}

#[test]
fn a_server_that_never_answers_is_waited_for_as_long_as_the_caller_says() {
    on_core(async |deadlines| {
        let (address, _listener) = listen();
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        let until = runtime::now() + Duration::from_millis(60);
        let mut stream = upstream.open(request(Method::Get, "/a"), false, until);
        let fault = head(&mut stream).await.unwrap_err();
        assert!(matches!(fault, UpstreamFault::Timeout), "{fault}");
        assert_eq!(fault.status(), 504);
        assert!(runtime::now() >= until);
    });
}

#[test]
fn a_connection_without_a_sign_of_life_is_broken_and_one_with_is_not() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let mut plan = plan(address, HttpVersions::H2);
        plan.limits.ping_after = Duration::from_millis(50);
        plan.limits.ping_timeout = Duration::from_millis(200);
        let upstream = upstream(plan.clone(), &deadlines);
        let mut silent = upstream.open(request(Method::Get, "/a"), false, soon());
        let begun = runtime::now();
        let fault = head(&mut silent).await.unwrap_err();
        assert!(
            matches!(fault, UpstreamFault::Lost { unprocessed: false }),
            "{fault}"
        );
        assert!(runtime::now() - begun >= Duration::from_millis(250));
        let _ = serve(listener, Builder::new(), |_, request, respond| async move {
            runtime::sleep(Duration::from_millis(600)).await;
            echo_path(request, respond).await;
        });
        assert_eq!(get(&upstream, "/late").await.unwrap(), "/late");
    });
}

#[test]
fn a_closed_window_stops_the_sender_and_a_slow_taker_stops_the_server() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let mut builder = Builder::new();
        builder.initial_window_size(100);
        let sent = Rc::new(Cell::new(0));
        let count = sent.clone();
        let _ = serve(listener, builder, move |_, mut request, mut respond| {
            let count = count.clone();
            async move {
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                let body = request.body_mut();
                runtime::sleep(Duration::from_millis(100)).await;
                while let Some(Ok(piece)) = body.data().await {
                    body.flow_control().release_capacity(piece.len()).unwrap();
                }
                loop {
                    sending.reserve_capacity(60_000);
                    let capacity = poll_fn(|context| sending.poll_capacity(context)).await;
                    let Some(Ok(capacity)) = capacity else { return };
                    count.set(count.get() + capacity);
                    sending.send_data(vec![7; capacity].into(), false).unwrap();
                }
            }
        });
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        let mut stream = upstream.open(request(Method::Post, "/a"), true, soon());
        poll_fn(|context| stream.poll_ready(context)).await.unwrap();
        stream.send_data(vec![1; 1_000].into());
        head(&mut stream).await.unwrap();
        let is_full = poll_fn(|context| Poll::Ready(stream.poll_ready(context).is_pending())).await;
        assert!(is_full, "1,000 bytes do not fit into a window of 100");
        poll_fn(|context| stream.poll_ready(context)).await.unwrap();
        stream.finish();
        while sent.get() < 1 << 20 {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        runtime::sleep(Duration::from_millis(50)).await;
        assert_eq!(sent.get(), 1 << 20, "one window");
        let mut taken = 0;
        while taken < 1 << 20 {
            let piece = poll_fn(|context| stream.poll_data(context)).await;
            taken += piece.unwrap().unwrap().len();
        }
        while sent.get() == 1 << 20 {
            runtime::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn more_requests_than_a_connection_takes_get_another_and_more_than_the_queue_holds_are_refused() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let mut builder = Builder::new();
        builder.max_concurrent_streams(2);
        let gate = Rc::new(Cell::new(false));
        let opened = gate.clone();
        let connections = serve(listener, builder, move |_, request, respond| {
            let opened = opened.clone();
            async move {
                while !opened.get() {
                    runtime::sleep(Duration::from_millis(5)).await;
                }
                echo_path(request, respond).await;
            }
        });
        let mut plan = plan(address, HttpVersions::H2);
        plan.limits.connections_max = 2;
        plan.limits.streams_max = 2;
        plan.limits.queue_len_max = 3;
        let upstream = upstream(plan, &deadlines);
        let mut streams: Vec<_> = Vec::new();
        for _ in 0..2 {
            let mut stream = upstream.open(request(Method::Get, "/a"), false, soon());
            while streams.len() < 4 {
                let is_early = poll_fn(|context| Poll::Ready(stream.poll_head(context))).await;
                assert!(is_early.is_pending());
                if connections.get() > streams.len() / 2 {
                    break;
                }
                runtime::sleep(Duration::from_millis(5)).await;
            }
            streams.push(stream);
            streams.push(upstream.open(request(Method::Get, "/a"), false, soon()));
        }
        let mut waiting: Vec<_> = (0..3)
            .map(|_| upstream.open(request(Method::Get, "/a"), false, soon()))
            .collect();
        let mut refused = upstream.open(request(Method::Get, "/a"), false, soon());
        let fault = head(&mut refused).await.unwrap_err();
        assert!(matches!(fault, UpstreamFault::Busy), "{fault}");
        assert_eq!(fault.status(), 503);
        gate.set(true);
        for stream in streams.iter_mut().chain(&mut waiting) {
            assert_eq!(head(stream).await.unwrap().status, 200);
            rest(stream).await.unwrap();
        }
        assert_eq!(connections.get(), 2);
    });
}

#[test]
fn a_dropped_request_is_taken_back() {
    on_core(async |deadlines| {
        let (address, listener) = listen();
        let reason = Rc::new(Cell::new(None));
        let seen = reason.clone();
        let _ = serve(listener, Builder::new(), move |_, _request, mut respond| {
            let seen = seen.clone();
            async move {
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                let reset = poll_fn(|context| sending.poll_reset(context)).await;
                seen.set(reset.ok());
            }
        });
        let upstream = upstream(plan(address, HttpVersions::H2), &deadlines);
        let mut stream = upstream.open(request(Method::Get, "/a"), false, soon());
        head(&mut stream).await.unwrap();
        drop(stream);
        while reason.get().is_none() {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(reason.get(), Some(Reason::CANCEL));
        assert_eq!(upstream.connections(), 1);
        upstream.drain();
        while upstream.connections() > 0 {
            runtime::sleep(Duration::from_millis(5)).await;
        }
    });
}
