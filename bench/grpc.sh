# The part of bench/run about calls of gRPC: case grpc. Sourced by it, and written in its words.
#
# One unary method, 256 bytes, 16 connections of 8 calls each: answered by a service in Go (tools/grpc) directly, through the gateway (proxy), by the gateway itself (echo),
# by the acknowledgement of its record (one-way), by its own records (topic), and by the service through two topics (full). The service stands on the load generator's processor.
# h2load looks at the HTTP status alone, so a few calls by a client that knows gRPC go before.

calls=20000 call_bytes=256
if [[ $smoke ]]; then calls=1000; fi
grpc_port=$((port + 32)) service_port=$((port + 31))

start_grpc() {
  local client=target/grpc/bin/echo case topic jobs=()
  [[ -x $client ]] || tools/grpc/install.sh > "$data/grpc-install.log" 2>&1 || { echo "bench/run: tools/grpc/install.sh failed: $(tail -1 "$data/grpc-install.log")" >&2; exit 1; }
  for topic in calls-one-way calls-echo calls-requests calls-replies; do
    kafka topic-create "$topic" 1 > /dev/null & jobs+=($!)
    if ((${#jobs[@]} == 2)); then wait "${jobs[0]}"; wait "${jobs[1]}"; jobs=(); fi
  done
  serve "$service_port" grpc-service "$load_processor" "$client" server --port "$service_port"; grpc_service=$started
  SERVICE_PORT=$service_port serve "$grpc_port" grpc $gateway_processor "$sluice" start -c bench/grpc.yaml --cores $gateway_processor; grpc_gateway=$started
  # Field 1, a string, behind the prefix of a message (gRPC over HTTP/2, "Length-Prefixed-Message").
  awk -v bytes="$call_bytes" 'BEGIN { text = bytes - 3; printf "%c%c%c%c%c%c%c%c", 0, 0, 0, 1, 0, 10, 128 + text % 128, int(text / 128); for (; text > 0; text--) printf "x" }' > "$data/call"
  for case in proxy echo topic full; do
    # The group may be a moment in forming.
    "$client" client "127.0.0.1:$grpc_port" unary --text hello --count 20 --concurrency 5 --timeout 30 --metadata "x-case=$case" > "$data/grpc-$case"
    grep -q '"ok":20' <<< "$(tr -d ' ' < "$data/grpc-$case")" || { echo "bench/run: calls fail ($case): $(< "$data/grpc-$case")" >&2; exit 1; }
  done
}

# PORT CASE
by_calls() {
  rm -f "$data/h2load.log"
  taskset -c "$load_processor" h2load --log-file="$data/h2load.log" -n "$calls" -c 16 -m 8 -d "$data/call" -H 'content-type: application/grpc' -H 'te: trailers' -H "x-case: $2" \
    "http://127.0.0.1:$1/grpc.examples.echo.Echo/UnaryEcho" > "$data/h2load"
  sort -n -k3 "$data/h2load.log" | awk -v failed="$(sed -n 's/.*, \([0-9]*\) failed,.*/\1/p' "$data/h2load")" '
    NR == 1 || $1 < first { first = $1 } $1 + $3 > last { last = $1 + $3 } { took[NR] = $3 }
    END { printf "requests=%d errors=%d duration_us=%d p50_us=%d p99_us=%d p999_us=%d\n", NR, failed, last - first, took[int(NR / 2) + 1], took[int(NR * 0.99) + 1], took[int(NR * 0.999) + 1] }'
}
measure_grpc() {
  measure grpc-direct service "$grpc_service" by_calls "$service_port" direct
  local case
  for case in echo proxy one-way topic full; do
    measure "grpc-$case" gateway "$grpc_gateway" by_calls "$grpc_port" "$case"
  done
}
