//! `sluice topics`: the control plane, by rskafka on a small tokio runtime.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use rskafka::BackoffConfig;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};

use super::{SERVERS_VARIABLE, environment};

/// How long the cluster may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CREATE_TIMEOUT_MS: i32 = 5_000;

#[derive(Debug, Args)]
pub(super) struct TopicsArguments {
    /// `host:port` of brokers, separated by commas. Default: `KAFKA_BOOTSTRAP_SERVER`.
    #[arg(short, long, value_name = "SERVERS")]
    servers: Option<String>,
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Prints each topic with its partitions.
    List,
    /// Prints the first and the next offset of each partition.
    Offsets {
        /// The topic.
        topic: String,
    },
    /// Creates a topic with the cluster's default configuration.
    Create {
        /// The topic.
        topic: String,
        /// Its partitions.
        #[arg(default_value_t = 1)]
        partitions: i32,
        /// Copies of each partition.
        #[arg(default_value_t = 1)]
        replication_factor: i16,
    },
    /// Deletes a topic and all its records.
    Delete {
        /// The topic.
        topic: String,
    },
}

type Failure = Box<dyn std::error::Error>;

pub(super) fn run(arguments: &TopicsArguments) -> ExitCode {
    let servers = arguments
        .servers
        .clone()
        .or_else(|| environment(SERVERS_VARIABLE));
    let Some(servers) = servers else {
        eprintln!("sluice: which cluster? Give --servers host:port or set {SERVERS_VARIABLE}");
        return super::start::config_fault();
    };
    match on_tokio(&servers, &arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sluice: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn on_tokio(servers: &str, command: &TopicsCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let names: Vec<String> = servers.split(',').map(|server| server.trim().to_owned()).collect();
        tokio::time::timeout(TIMEOUT, execute(names, command))
            .await
            .map_err(|_| format!("no answer from {servers} within {} s: is the address right, and does the broker advertise one that can be reached from here?", TIMEOUT.as_secs()))?
    })
}

async fn execute(servers: Vec<String>, command: &TopicsCommand) -> Result<(), Failure> {
    // Its own default waits up to 500 s between two attempts.
    let backoff = BackoffConfig {
        max_backoff: Duration::from_secs(1),
        deadline: Some(TIMEOUT),
        ..BackoffConfig::default()
    };
    let client = ClientBuilder::new(servers)
        .backoff_config(backoff)
        .build()
        .await?;
    match command {
        TopicsCommand::List => {
            for topic in client.list_topics().await? {
                println!("{}\t{} partitions", topic.name, topic.partitions.len());
            }
        }
        TopicsCommand::Offsets { topic } => print_offsets(&client, topic).await?,
        TopicsCommand::Create {
            topic,
            partitions,
            replication_factor,
        } => {
            client
                .controller_client()?
                .create_topic(topic, *partitions, *replication_factor, CREATE_TIMEOUT_MS)
                .await?;
            println!("{topic} created");
        }
        TopicsCommand::Delete { topic } => {
            client
                .controller_client()?
                .delete_topic(topic, CREATE_TIMEOUT_MS)
                .await?;
            println!("{topic} deleted");
        }
    }
    Ok(())
}

async fn print_offsets(client: &Client, name: &str) -> Result<(), Failure> {
    let topics = client.list_topics().await?;
    let topic = topics
        .into_iter()
        .find(|topic| topic.name == name)
        .ok_or_else(|| format!("there is no topic `{name}`"))?;
    for number in topic.partitions {
        let partition = client
            .partition_client(name, number, UnknownTopicHandling::Error)
            .await?;
        let first = partition.get_offset(OffsetAt::Earliest).await?;
        let next = partition.get_offset(OffsetAt::Latest).await?;
        println!("{name}\t{number}\tfirst {first}\tnext {next}");
    }
    Ok(())
}
