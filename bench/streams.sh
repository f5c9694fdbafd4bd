# The part of bench/run about event streams, HTTP/2 and TLS: cases streams, h2 and tls. Sourced by it, and written in its words.
#
# A stream's latency is from the moment its record was due to be published (by HTTP, through the same gateway) to its arrival at the client, Kafka included: `stored` in the
# figures is how much of that the publishing took. The load generator shares its processor with the broker.

# CLIENTS:EVENTS A SECOND
streams=(1:1000 100:1000 1000:150 1000:1000 10000:20)
streams_most=15000
h2_requests=200000
if [[ $smoke ]]; then streams=(1:100 100:50) streams_most=300 h2_requests=2000; fi

needs_streams() { wanted streams || wanted h2 || wanted tls; }

start_streams_server() {
  kafka topic-create ticks 1 cleanup.policy=compact > /dev/null
  BENCH_TLS_PORT=$((port + 27)) serve $((port + 26)) streams $gateway_processor "$sluice" start -c bench/sse.yaml --cores $gateway_processor; streams_gateway=$started
  # A broker whose code for this is compiled by now.
  post $((port + 26)) 16 /ticks > /dev/null
  if ! wanted h2; then return; fi
  "$load" --connect "127.0.0.1:$((port + 26))" --rate 1000 --requests 1 --connections 1 --method PUT --path '/items/0' --body-bytes 256 > /dev/null
}

# CLIENTS RATE
fan_out() {
  taskset -c "$load_processor" "$load" fanout --connect "127.0.0.1:$((port + 26))" --connections "$1" --rate "$2" --secs "$secs" --path /ticks --publish-path /ticks --body-bytes 256
}
measure_streams() {
  local one
  for one in "${streams[@]}"; do
    measure "streams-${one/:/x}" gateway "$streams_gateway" fan_out "${one%:*}" "${one#*:}"
  done
  measure_idle_streams
}
# What a stream takes that nothing happens on: resident memory with all of them open, less that with none; of a gateway of its own, since memory that was given back is
# not seen to be.
measure_idle_streams() {
  local before open clients ticks_before ticks_after idle_gateway
  BENCH_TLS_PORT=$((port + 29)) serve $((port + 28)) idle-streams $gateway_processor "$sluice" start -c bench/sse.yaml --cores $gateway_processor; idle_gateway=$started
  post $((port + 28)) 1 /ticks > /dev/null
  before=$(resident_kib "$idle_gateway")
  rm -f "$data/streams.go"; mkfifo "$data/streams.go"
  taskset -c "$load_processor" "$load" fanout --hold --connect "127.0.0.1:$((port + 28))" --connections "$streams_most" --rate 1 --secs 1 --path /ticks --publish-path /ticks --body-bytes 256 \
    <> "$data/streams.go" > "$data/streams.load" 2>&1 & clients=$!
  servers+=("$clients")
  await_word open "$data/streams.load" "$clients"
  sleep 2
  open=$(resident_kib "$idle_gateway") ticks_before=$(ticks "$idle_gateway")
  sleep 2
  ticks_after=$(ticks "$idle_gateway")
  release streams.go
  wait "$clients" || { echo "bench/run: no figures for idle streams: $(tail -1 "$data/streams.load")" >&2; exit 1; }
  echo "case=streams-idle subject=gateway round=$round streams=$streams_most stream_kib=$((open - before)) idle_ticks=$((ticks_after - ticks_before)) idle_secs=2" >> "$figures"
  kill "$idle_gateway" && wait "$idle_gateway" || true
}

# CASE PORT SCHEME ARGUMENTS...: a cached item, by h2load.
by_h2load() {
  local scheme=$1 on=$2; shift 2
  rm -f "$data/h2load.log"
  taskset -c "$load_processor" h2load --log-file="$data/h2load.log" -n "$h2_requests" "$@" "$scheme://127.0.0.1:$on/items/0" > "$data/h2load"
  sort -n -k3 "$data/h2load.log" | awk -v failed="$(sed -n 's/.*, \([0-9]*\) failed,.*/\1/p' "$data/h2load")" '
    NR == 1 || $1 < first { first = $1 } $1 + $3 > last { last = $1 + $3 } { took[NR] = $3 }
    END { printf "requests=%d errors=%d duration_us=%d p50_us=%d p99_us=%d p999_us=%d\n", NR, failed, last - first, took[int(NR / 2) + 1], took[int(NR * 0.99) + 1], took[int(NR * 0.999) + 1] }'
}
measure_h2() {
  measure get-h1 gateway "$streams_gateway" by_h2load http $((port + 26)) --h1 -c 64 -m 1
  measure get-h2 gateway "$streams_gateway" by_h2load http $((port + 26)) -c 16 -m 32
  measure get-tls-h1 gateway "$streams_gateway" by_h2load https $((port + 27)) --h1 -c 64 -m 1
  measure get-tls-h2 gateway "$streams_gateway" by_h2load https $((port + 27)) -c 16 -m 32
}

# ARGUMENTS...: handshakes as fast as they go, four at a time. Sessions are taken up in TLS 1.2: s_time does not wait for the tickets of 1.3.
handshakes() {
  local each jobs=() begun=$EPOCHREALTIME
  for each in 1 2 3 4; do
    taskset -c "$load_processor" openssl s_time -connect "127.0.0.1:$((port + 27))" "$@" -time "$secs" > "$data/s_time.$each" 2> /dev/null & jobs+=($!)
  done
  wait "${jobs[@]}" || true
  awk -v took="$((${EPOCHREALTIME/./} - ${begun/./}))" '/connections in .* real/ { total += $1 } END { printf "requests=%d errors=0 duration_us=%d p50_us=0 p99_us=0 p999_us=0\n", total, took }' "$data"/s_time.?
}
measure_tls() {
  measure tls-new gateway "$streams_gateway" handshakes -new
  measure tls-reuse gateway "$streams_gateway" handshakes -reuse -tls1_2
}
