#!/usr/bin/env bash
# Apache Kafka (KRaft) for tests, from Maven Central, on the loopback: one node, or three. Needs: JDK 17+, mvn.
#   kafka.sh install | wipe | status | topics | tool CLASS ARGS...
#   kafka.sh start [N] | start3 | stop [N] | kill [N] | restart [N]     (N: one node of three; kill is kill -9, data stays)
#   kafka.sh topic-create NAME [PARTITIONS] [k=v ...] | topic-delete NAME
# Environment (defaults):
#   KAFKA_HOME_CACHE  where jars go         (${XDG_CACHE_HOME:-~/.cache}/kafka-test)
#   KAFKA_VERSION     broker version        (4.1.1, as Zilla's own examples)
#   KAFKA_NODES       1 or 3                (what was started last at this port, else 1; start3 is KAFKA_NODES=3 start)
#   KAFKA_DATA        logs, pid, config     ($KAFKA_HOME_CACHE/data-$KAFKA_PORT, or data3- for three nodes)
#   KAFKA_PORT        PLAINTEXT listener    (9092; three nodes: also +10 and +20; each controller uses its port + 1)
#   KAFKA_HEAP        heap                  (768m; three nodes: 384m each)
#   KAFKA_HOST        bind and advertised   (localhost)
#   KAFKA_TIMEOUT     longest wait, seconds (60)
# Topics of three nodes are made with replication factor 3 and min.insync.replicas=2.
set -euo pipefail
ver=${KAFKA_VERSION:-4.1.1}
cache=${KAFKA_HOME_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kafka-test}
port=${KAFKA_PORT:-9092} host=${KAFKA_HOST:-localhost} patience=${KAFKA_TIMEOUT:-60}
libs=$cache/libs-$ver
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
small=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error)

die()  { echo "kafka: $*" >&2; exit 1; }
need() { command -v "$1" > /dev/null || die "$1 is missing: install $2"; }

need_java() {
  need "$java" "a JDK 17 or newer (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless), or set JAVA_HOME"
  local major; major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p;T;q')
  [[ -z $major || $major -ge 17 ]] || die "java is version $major: Kafka $ver needs a JDK 17 or newer"
}

run()     { need_java; "$java" "${small[@]}" -cp "$libs/*" "$@"; }
run_for() { need_java; timeout "$patience" "$java" "${small[@]}" -cp "$libs/*" "$@" || die "$1 failed, or took over $patience s"; }

# How many nodes: as asked for, else as at the last start at this port.
choose_nodes() {
  nodes=$1
  case $nodes in 1|3) ;; *) die "KAFKA_NODES is $nodes: it may be 1 or 3" ;; esac
  if ((nodes == 1)); then data=${KAFKA_DATA:-$cache/data-$port} heap=${KAFKA_HEAP:-768m}
  else data=${KAFKA_DATA:-$cache/data3-$port} heap=${KAFKA_HEAP:-384m}; fi
}
started=$cache/nodes-$port
choose_nodes "${KAFKA_NODES:-$([[ -f $started ]] && echo "$(<"$started")" || echo 1)}"

node_port() { echo $((port + 10 * ($1 - 1))); }
node_dir()  { if ((nodes == 1)); then echo "$data"; else echo "$data/node-$1"; fi; }
pid_file()  { echo "$(node_dir "$1")/kafka.pid"; }
bootstrap() { local n list=; for n in $(seq "$nodes"); do list+=,$host:$(node_port "$n"); done; echo "${list#,}"; }
voters()    { local n list=; for n in $(seq "$nodes"); do list+=,$n@$host:$(($(node_port "$n") + 1)); done; echo "${list#,}"; }

# The nodes meant by an optional number.
which_nodes() {
  case ${1:-all} in
    all) seq "$nodes" ;;
    [1-3]) (($1 <= nodes)) || die "there is no node $1: $nodes started"; echo "$1" ;;
    *) die "$1 is no node: 1 to $nodes" ;;
  esac
}

# The pid must still be that of a Kafka: after a reboot it may be anyone's.
alive() {
  local file pid; file=$(pid_file "$1"); [[ -f $file ]] || return 1
  pid=$(<"$file"); kill -0 "$pid" 2> /dev/null || return 1
  [[ ! -r /proc/$pid/cmdline ]] || tr '\0' ' ' < "/proc/$pid/cmdline" | grep -q kafka.Kafka
}

install() {
  [[ -f $libs/.done ]] && return
  need_java
  need mvn "Maven (Debian, Ubuntu: apt-get install maven)"
  mkdir -p "$libs"
  cat > "$cache/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka-test</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$ver</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$ver</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  timeout 900 mvn -q -B -f "$cache/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$libs" || die "jars could not be fetched within 900 s"
  touch "$libs/.done"
}

configure() { # N
  local dir p; dir=$(node_dir "$1") p=$(node_port "$1"); mkdir -p "$dir"
  cat > "$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$(voters)
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$host:$p,CONTROLLER://$host:$((p + 1))
advertised.listeners=PLAINTEXT://$host:$p
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/log
auto.create.topics.enable=true
num.partitions=1
default.replication.factor=$nodes
min.insync.replicas=$(((nodes + 1) / 2))
offsets.topic.replication.factor=$nodes
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$nodes
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$nodes
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.enable=true
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=2
CONF
  [[ -f $dir/log/meta.properties ]] ||
    run_for kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$dir/server.properties" > "$dir/format.log" 2>&1
}

launch() { # N
  local dir; dir=$(node_dir "$1")
  alive "$1" && return
  configure "$1"
  nohup setsid "$java" -Xms256m "-Xmx$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG:-warn}" -Dorg.slf4j.simpleLogger.showDateTime=true \
    -cp "$libs/*" kafka.Kafka "$dir/server.properties" >> "$dir/server.log" 2>&1 < /dev/null &
  echo $! > "$dir/kafka.pid"
}

wait_ready() { # N
  local dir deadline=$((SECONDS + patience)); dir=$(node_dir "$1")
  while ((SECONDS < deadline)); do
    # Not `alive`: between fork and exec the process does not look like a Kafka yet.
    kill -0 "$(<"$(pid_file "$1")")" 2> /dev/null || { tail -20 "$dir/server.log" >&2; die "node $1 ended, see $dir/server.log"; }
    # the listener opens only once the broker is unfenced
    (exec 3<> "/dev/tcp/$host/$(node_port "$1")") 2> /dev/null && return
    sleep 0.2
  done
  die "node $1 is not ready in $patience s, see $dir/server.log"
}

start() { # [N]
  local n list; list=$(which_nodes "${1:-}")
  install; need_java
  echo "$nodes" > "$started"
  for n in $list; do launch "$n"; done
  for n in $list; do wait_ready "$n"; done
}

end_node() { # SIGNAL N
  local file pid deadline; file=$(pid_file "$2")
  alive "$2" || { rm -f "$file"; return 0; }
  pid=$(<"$file"); kill "-$1" "$pid"
  deadline=$((SECONDS + 10))
  while kill -0 "$pid" 2> /dev/null && ((SECONDS < deadline)); do sleep 0.1; done
  kill -9 "$pid" 2> /dev/null || true
  rm -f "$file"
}

end() { # SIGNAL [N]
  local n list; list=$(which_nodes "${2:-}")
  # All at once: the last of three would wait for a quorum that is gone.
  for n in $list; do end_node "$1" "$n" & done
  wait
}

status() {
  local n all=0
  for n in $(seq "$nodes"); do
    if alive "$n"; then echo "node $n running, pid $(<"$(pid_file "$n")"), $host:$(node_port "$n")"
    else echo "node $n stopped"; all=1; fi
  done
  return $all
}

topic_create() { # NAME [PARTITIONS] [config k=v ...], e.g. cleanup.policy=compact
  local name=${1:?topic name} parts=${2:-1} args=() kv; shift; (($#)) && shift
  for kv in "$@"; do args+=(--config "$kv"); done
  run_for org.apache.kafka.tools.TopicCommand --bootstrap-server "$(bootstrap)" --create --if-not-exists \
    --topic "$name" --partitions "$parts" --replication-factor "$nodes" "${args[@]}"
}

topic_delete() { # NAME
  run_for org.apache.kafka.tools.TopicCommand --bootstrap-server "$(bootstrap)" --delete --topic "${1:?topic name}"
}

cmd=${1:-}; (($#)) && shift
case $cmd in
  install|status) "$cmd" ;;
  start) start "$@" ;;
  start3) choose_nodes 3; start "$@" ;;
  stop) end TERM "$@" ;;
  kill) end KILL "$@" ;;
  restart) end TERM "$@"; start "$@" ;;
  wipe) end TERM; rm -rf -- "$data" "$started" ;;
  topic-create) topic_create "$@" ;;
  topic-delete) topic_delete "$@" ;;
  topics) run_for org.apache.kafka.tools.TopicCommand --bootstrap-server "$(bootstrap)" --describe ;;
  tool) run "$@" ;;
  *) sed -n '2,16s/^# \?//p' "$0" >&2; exit 2 ;;
esac
