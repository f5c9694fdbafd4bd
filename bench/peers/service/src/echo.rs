//! The service: each request's value is the reply's. One thread beside librdkafka's own, any number of requests in flight.

use std::error::Error;
use std::time::Duration;

use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::arguments::Arguments;
use crate::client::{CORRELATION_ID, From, Producer, REPLY_TO, consumer};
use crate::ready;

/// Answers until it is ended. With `--hold`, from the beginning of the topic: what came meanwhile is answered at once.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let from = if arguments.hold {
        From::Beginning
    } else {
        From::Now
    };
    let requests = consumer(&arguments.bootstrap, &arguments.topic, from)?;
    let producer = Producer::connect(&arguments.bootstrap, &arguments.topic)?;
    ready(arguments)?;
    loop {
        match requests.poll(Duration::from_millis(100)) {
            Some(request) => answer(&producer, &request?)?,
            None => producer.serve()?,
        }
    }
}

fn header<'m>(request: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    let mut headers = request.headers()?.iter();
    headers.find(|header| header.key == name)?.value
}

fn answer(producer: &Producer, request: &BorrowedMessage<'_>) -> Result<(), Box<dyn Error>> {
    let (Some(reply_to), Some(id)) = (header(request, REPLY_TO), header(request, CORRELATION_ID))
    else {
        return Err("a request that says not where to answer".into());
    };
    let mut headers = OwnedHeaders::new_with_capacity(3)
        .insert(Header {
            key: CORRELATION_ID,
            value: Some(id),
        })
        .insert(Header {
            key: ":status",
            value: Some("200"),
        });
    if let Some(value) = header(request, "content-type") {
        headers = headers.insert(Header {
            key: "content-type",
            value: Some(value),
        });
    }
    let reply = BaseRecord::to(std::str::from_utf8(reply_to)?)
        .key(request.key().unwrap_or_default())
        .payload(request.payload().unwrap_or_default())
        .headers(headers);
    producer.send(reply)
}

/// Writes a record for each of the keys below `--count`.
pub fn fill(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let producer = Producer::connect(&arguments.bootstrap, &arguments.topic)?;
    ready(arguments)?;
    for key in 0..arguments.count {
        let (key, value) = (key.to_string(), format!(r#"{{"item":{key}}}"#));
        producer.send(
            BaseRecord::to(&arguments.topic)
                .key(&key)
                .payload(value.as_bytes()),
        )?;
    }
    producer.finish()
}
