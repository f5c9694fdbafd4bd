//! The twin: what the gateway's one-way POST is compared with. `twin post` stores each body and answers 204 once the broker has it, 503 when it does not;
//! `twin echo` answers 204 to each body at once, and is what the same HTTP server costs without Kafka. One thread of its own; librdkafka brings more.

mod produce;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use produce::Producer;

const USAGE: &str = "usage: twin echo --port PORT\n       twin post --port PORT --bootstrap HOST:PORT --topic TOPIC [--set NAME=VALUE]...";

enum Answer {
    Echo,
    Post(Arc<Producer>),
}

struct Arguments {
    post: bool,
    port: u16,
    bootstrap: String,
    topic: String,
    settings: Vec<(String, String)>,
}

fn arguments() -> Option<Arguments> {
    let mut words = std::env::args().skip(1);
    let post = match words.next()?.as_str() {
        "post" => true,
        "echo" => false,
        _ => return None,
    };
    let mut arguments = Arguments {
        post,
        port: 0,
        bootstrap: String::new(),
        topic: String::new(),
        settings: Vec::new(),
    };
    while let Some(name) = words.next() {
        let value = words.next()?;
        match name.as_str() {
            "--port" => arguments.port = value.parse().ok()?,
            "--bootstrap" => arguments.bootstrap = value,
            "--topic" => arguments.topic = value,
            "--set" => arguments.settings.push(
                value
                    .split_once('=')
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))?,
            ),
            _ => return None,
        }
    }
    Some(arguments)
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<Answer>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let stored = match &*answer {
        Answer::Echo => true,
        Answer::Post(producer) => producer.store(&body).await,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = if stored {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok(response)
}

async fn serve(arguments: Arguments) -> Result<Infallible, Box<dyn Error>> {
    let answer = if arguments.post {
        Answer::Post(Producer::start(
            &arguments.bootstrap,
            &arguments.topic,
            &arguments.settings,
        )?)
    } else {
        Answer::Echo
    };
    let answer = Arc::new(answer);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], arguments.port))).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            // No header timeout: it would cost the twin a timer that the comparison does not need.
            let service = service_fn(move |request| respond(request, answer.clone()));
            let _ = http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    match runtime.block_on(serve(arguments))? {}
}
