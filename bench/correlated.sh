# The part of bench/run about correlated requests: cases sync, sync-2-cores and waiters. Sourced by it, and written in its words.
#
# The service (bench/peers/service) runs on the load generator's processor, as a service behind a gateway has a place of its own. `probe` stands in the gateway's
# place, on its processor, and sends and reads the same records by hand: what it takes is the service's own, and a gateway's figure less the probe's is the gateway.

sync_rates=(500 2000 5000)
# Seconds. Until then the broker's own code is what one would see: two produces and two fetches for each of our requests, and not compiled yet.
sync_warm=15
waiters=10000 wake_samples=100 idle_secs=5
if [[ $smoke ]]; then sync_rates=(500) sync_warm=1 waiters=300 wake_samples=10 idle_secs=1; fi

needs_service() { wanted sync || wants_two_cores || wanted waiters; }
# On one processor only when it is asked for by name, and then it says why it cannot be.
wants_two_cores() { wanted sync-2-cores && { ((processors > 1)) || ((${#only[@]})); }; }

check_processors() {
  ((processors > 1)) || { echo "bench/run: sync-2-cores needs two processors, and here is one: name the other cases with --only" >&2; exit 1; }
}
# Clients and gateway each have a descriptor for a connection.
raise_descriptors() {
  ulimit -Sn "$(ulimit -Hn)"
  local have; have=$(ulimit -Sn)
  [[ $have == unlimited ]] || ((have >= $1 + 256)) ||
    { echo "bench/run: $1 connections need $(($1 + 256)) descriptors, and ulimit -Hn is $have" >&2; exit 1; }
}

create_service_topics() {
  local topic jobs=()
  # Tools are slow to start, the broker is not: two at a time.
  for topic in items-requests items-replies pairs-requests pairs-replies held-requests held-replies probe-replies probe-pairs-replies; do
    kafka topic-create "$topic" "$([[ $topic == *pairs* ]] && echo 2 || echo 1)" > /dev/null & jobs+=($!)
    if ((${#jobs[@]} == 2)); then wait "${jobs[0]}"; wait "${jobs[1]}"; jobs=(); fi
  done
  kafka topic-create late 1 cleanup.policy=compact > /dev/null
}

# WORD FILE PID: waits until the process has printed it on a line of its own.
await_word() {
  for _ in $(seq 600); do
    if grep -qx "$1" "$2"; then return; fi
    kill -0 "$3" 2> /dev/null || break
    sleep 0.1
  done
  echo "bench/run: no \`$1\` in $2:" >&2; tail -5 "$2" >&2; exit 1
}

# NAME ARGUMENTS...: starts the service's program beside the load generator, waits until it is ready, sets `started`. It reads the lines of $data/NAME.go.
start_service() {
  local name=$1; shift
  rm -f "$data/$name.go"; mkfifo "$data/$name.go"
  # Read and write: neither end waits for the other to open.
  taskset -c "$load_processor" "$service" "$@" --bootstrap "$bootstrap" <> "$data/$name.go" > "$data/$name.log" 2>&1 & started=$!
  servers+=("$started")
  await_word ready "$data/$name.log" "$started"
}
# NAME...: a line to each at once.
release() { tee "${@/#/$data/}" > /dev/null <<< go; }

start_sync_servers() {
  start_service echo-items echo --topic items-requests
  start_service echo-pairs echo --topic pairs-requests
  if wanted sync; then
    serve $((port + 22)) sync $gateway_processor "$sluice" start -c bench/sync.yaml --cores $gateway_processor; sync_one=$started
    sync_load $((port + 22)) /items/ 1500 --secs "$sync_warm" > /dev/null
  fi
  if wants_two_cores; then
    serve $((port + 23)) sync-2 0,1 "$sluice" start -c bench/sync.yaml --cores 0-1; sync_two=$started
    sync_load $((port + 23)) /pairs/ 1500 --secs "$sync_warm" > /dev/null
  fi
}

# PORT PATH RATE ARGUMENTS...
sync_load() {
  local on=$1 path=$2 at=$3; shift 3
  taskset -c "$load_processor" "$load" --connect "127.0.0.1:$on" --rate "$at" --connections 64 --secs "$secs" --method PUT --path "$path{key}" --body-bytes 256 "$@"
}
# CASE RATE TOPIC REPLY_TOPIC
measure_probe() {
  local line
  line=$(taskset -c $gateway_processor "$service" probe --bootstrap "$bootstrap" --topic "$3" --reply-topic "$4" --rate "$2" --secs "$secs" | grep '^requests=') ||
    { echo "bench/run: no figures for $1 of the probe" >&2; exit 1; }
  echo "case=$1 subject=probe round=$round $line" >> "$figures"
}
measure_sync() {
  local at
  for at in "${sync_rates[@]}"; do
    measure_probe "sync-$at" "$at" items-requests probe-replies
    measure "sync-$at" gateway "$sync_one" sync_load $((port + 22)) /items/ "$at"
  done
}
measure_sync_two_cores() {
  local at
  for at in "${sync_rates[@]}"; do
    measure_probe "sync-2-cores-$at" "$at" pairs-requests probe-pairs-replies
    measure "sync-2-cores-$at" gateway "$sync_two" sync_load $((port + 23)) /pairs/ "$at"
  done
}

# CASE PORT: GETs that wait, one after the other, each woken by a record of its own.
measure_wake() {
  local line
  line=$(taskset -c "$load_processor" "$service" wake --bootstrap "$bootstrap" --topic late --connect "127.0.0.1:$2" --path '/late/{key}' --count "$wake_samples" |
    grep '^samples=') || { echo "bench/run: no figures for $1" >&2; exit 1; }
  echo "case=$1 subject=gateway round=1 $line" >> "$figures"
}
# CASE PORT RELEASED METHOD PATH ARGUMENTS...: that many requests wait at a new gateway; then what RELEASED holds back is let go.
measure_waiters() {
  local case=$1 on=$2 released=$3 method=$4 path=$5 gateway before waiting ticks_before ticks_after line; shift 5
  serve "$on" "$case" $gateway_processor "$sluice" start -c bench/sync.yaml --cores $gateway_processor; gateway=$started
  # Its first request is answered, so that what comes once is not counted as a waiter's.
  sync_load "$on" /items/ 100 --requests 100 --connections 1 > /dev/null
  [[ $case != waiters-reads ]] || measure_wake wake-alone "$on"
  before=$(resident_kib "$gateway")
  rm -f "$data/$case.go"; mkfifo "$data/$case.go"
  taskset -c "$load_processor" "$load" wait --connect "127.0.0.1:$on" --connections "$waiters" --method "$method" --path "$path" --header 'prefer: wait=60' "$@" \
    <> "$data/$case.go" > "$data/$case.load" 2>&1 & local clients=$!
  servers+=("$clients")
  await_word waiting "$data/$case.load" "$clients"
  sleep 2
  waiting=$(resident_kib "$gateway") ticks_before=$(ticks "$gateway")
  sleep "$idle_secs"
  ticks_after=$(ticks "$gateway")
  [[ $case != waiters-reads ]] || measure_wake wake-beside-waiters "$on"
  release "$released.go" "$case.go"
  wait "$clients" || { echo "bench/run: no figures for $case: $(tail -1 "$data/$case.load")" >&2; exit 1; }
  line=$(grep '^waiters=' "$data/$case.load")
  echo "case=$case subject=gateway round=1 $line waiter_kib=$((waiting - before)) idle_ticks=$((ticks_after - ticks_before)) idle_secs=$idle_secs" >> "$figures"
}
measure_all_waiters() {
  start_service echo-held echo --hold --topic held-requests
  measure_waiters waiters-replies $((port + 24)) echo-held PUT '/held/{key}' --body-bytes 256
  start_service fill-late fill --hold --topic late --count "$waiters"
  measure_waiters waiters-reads $((port + 25)) fill-late GET '/late/{key}'
}
