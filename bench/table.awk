# The figures of bench/run as one table, then the targets of the design that they speak to. Each line of input is name=value pairs of one measurement.
# Variables: hz (clock ticks a second), processors (of the machine), smoke (only whether figures came out: ends with 1 if one is missing or not a number above 0).

BEGIN { percentiles["p50"]; percentiles["p99"]; percentiles["p999"] }

{
  delete field
  for (i = 1; i <= NF; i++) { at = index($i, "="); field[substr($i, 1, at - 1)] = substr($i, at + 1) }
  row = field["case"] SUBSEP field["subject"]
  if (!(row in seen)) { seen[row] = 1; rows[++row_count] = row }
  if (("requests" in field) && field["requests"] > 0) {
    note(row, "rate", field["requests"] * 1e6 / field["duration_us"])
    note(row, "p50", field["p50_us"]); note(row, "p99", field["p99_us"]); note(row, "p999", field["p999_us"])
    failed[row] += field["errors"]; asked[row] += field["requests"]
    if (field["subject"] == "probe") for (at in percentiles) own[field["case"], field["round"], at] = field[at "_us"]
    else if ((field["case"] SUBSEP "probe") in seen)
      for (at in percentiles) note(row, at " beyond", field[at "_us"] - own[field["case"], field["round"], at])
  }
  # The probe's processor time is nobody's question.
  if (("requests" in field) && field["requests"] > 0 && ("ticks" in field)) {
    cpu = field["ticks"] * 1e6 / hz / field["requests"]
    note(row, "cpu", cpu)
    by_round[row, field["round"]] = cpu
    base = field["case"] SUBSEP (field["subject"] ~ /^twin/ ? "twin-echo" : "echo")
    # Echoes are measured before what is compared with them.
    if ((base, field["round"]) in by_round && by_round[base, field["round"]] > 0) note(row, "ratio", cpu / by_round[base, field["round"]])
  }
  if ("waiters" in field) {
    note(row, "waiters", field["waiters"]); note(row, "waiter", field["waiter_kib"] / field["waiters"])
    note(row, "idle", field["idle_ticks"] / hz / field["idle_secs"] * 100)
    note(row, "first answered", field["first_us"] / 1000); note(row, "half answered", field["half_us"] / 1000); note(row, "all answered", field["last_us"] / 1000)
    failed[row] += field["errors"]; asked[row] += field["waiters"]
  }
  if ("streams" in field) {
    note(row, "streams", field["streams"]); note(row, "stream", field["stream_kib"] / field["streams"])
    note(row, "idle", field["idle_ticks"] / hz / field["idle_secs"] * 100)
  }
  if ("stored_p50_us" in field) { note(row, "stored", field["stored_p50_us"]); note(row, "per read", field["events_per_read"]) }
  if ("samples" in field) {
    note(row, "samples", field["samples"]); note(row, "kept", field["kept"] / field["samples"] * 100)
    note(row, "p50", field["wake_p50_us"]); note(row, "p95", field["wake_p95_us"]); note(row, "longest", field["wake_max_us"]); note(row, "written", field["write_p50_us"])
  }
  if (("requests" in field) && (field["requests"] == 0 || ("ticks" in field) && field["ticks"] == 0)) broken = broken " " field["case"] "/" field["subject"]
  if ("resident_kib" in field) note(row, "resident", field["resident_kib"] / 1024)
  if ("first_answer_us" in field) note(row, "first", field["first_answer_us"] / 1000)
  if (field["round"] > rounds) rounds = field["round"]
}

function note(row, name, value) { values[row, name, ++count[row, name]] = value + 0 }

function median(row, name,    n, i, j, sorted, value) {
  n = count[row, name]
  if (!n) return -1
  for (i = 1; i <= n; i++) {
    value = values[row, name, i]
    for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
    sorted[j + 1] = value
  }
  return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function cell(row, name, format) { return count[row, name] ? sprintf(format, median(row, name)) : "-" }

function target(text, value, most, unit) {
  if (value >= 0) printf "%-66s %8.2f%s  %s\n", text, value, unit, value <= most ? "met" : "missed"
}

# What Kafka costs beyond the bare server, ours against the twin's; a round counts only when both are above the noise.
function beyond(name,    round, ours, theirs, row) {
  row = "beyond" SUBSEP name
  for (round = 1; round <= rounds; round++) {
    ours = by_round[name, "gateway", round] - by_round[name, "echo", round]
    theirs = by_round[name, "twin", round] - by_round[name, "twin-echo", round]
    if (theirs > 0) { note(row, "ours", ours); note(row, "theirs", theirs); note(row, "share", ours / theirs) }
  }
  if (!count[row, "share"]) return
  printf "beyond its own echo (%s): gateway %.1f us, twin %.1f us\n", name, median(row, "ours"), median(row, "theirs")
  target("  share of the twin's, at most 0.5" (name == "rate" ? " (the acceptance line)" : ""), median(row, "share"), 0.5, "")
}

# What a request costs more on two cores than on one. Where the broker and the load generator share those cores, the echo grows as well, and nothing is judged.
function growth(name,    two, ours, floor) {
  two = name "-2-cores"
  if (!count[two, "gateway", "cpu"] || !count[name, "gateway", "cpu"]) return
  ours = median(two SUBSEP "gateway", "cpu") / median(name SUBSEP "gateway", "cpu")
  floor = median(two SUBSEP "echo", "cpu") / median(name SUBSEP "echo", "cpu")
  printf "1 to 2 cores, %s: CPU per request x %.2f, of the echo x %.2f\n", name, ours, floor
  if (processors >= 4) target("  at most 1.18 (85 % efficiency)", ours, 1 / 0.85, "")
  else print "  not judged: broker and load generator share the second core"
}

# What the gateway adds to the service's own path, percentile less percentile of the same round.
function added(row, name) {
  if (!count[row, "p50 beyond"]) return
  printf "beyond the service's own path (%s): p50 %+.0f us, p99 %+.0f us, p99.9 %+.0f us\n", name, median(row, "p50 beyond"), median(row, "p99 beyond"), median(row, "p999 beyond")
}
function waited(row, name) {
  if (!count[row, "waiters"]) return
  printf "%s: %d wait, %.1f KiB resident each with their connection, %.1f %% of a processor while nothing happens\n", name, median(row, "waiters"), median(row, "waiter"), median(row, "idle")
  printf "  let go: first answer after %.0f ms, half after %.0f ms, the last after %.0f ms\n", median(row, "first answered"), median(row, "half answered"), median(row, "all answered")
}
function streamed(row, name) {
  if (count[row, "stored"]) printf "%s: publishing took %.0f us of it (p50), %.1f events per read of a client\n", name, median(row, "stored"), median(row, "per read")
  if (count[row, "streams"]) {
    printf "%s: %d streams, %.1f KiB resident each with their connection, %.1f %% of a processor\n", name, median(row, "streams"), median(row, "stream"), median(row, "idle")
    if (!smoke) target("  at most 8 KiB each", median(row, "stream"), 8, " KiB")
  }
}
function woken(row, name) {
  if (!count[row, "samples"]) return
  printf "%s: a waiting GET is answered %.0f us after the ack of the record (p50), p95 %.0f us, longest %.0f us; p50 from its sending %.0f us\n", name, median(row, "p50"), median(row, "p95"), median(row, "longest"), median(row, "written")
  if (!smoke) printf "%-66s %8.0f%%  %s\n", "  within 20 ms, at least 95", median(row, "kept"), (median(row, "kept") >= 95 ? "met" : "missed")
}

END {
  line = "%-19s %-10s %10s %9s %9s %9s %9s %7s %9s %9s\n"
  printf line, "case", "subject", "requests/s", "p50 us", "p99 us", "p99.9 us", "CPU us/rq", "x echo", "RSS MiB", "start ms"
  for (i = 1; i <= row_count; i++) {
    row = rows[i]; split(row, name, SUBSEP)
    printf line, name[1], name[2] (failed[row] ? "!" : ""), cell(row, "rate", "%.0f"), cell(row, "p50", "%.0f"), cell(row, "p99", "%.0f"), cell(row, "p999", "%.0f"), \
      cell(row, "cpu", "%.1f"), cell(row, "ratio", "%.2f"), cell(row, "resident", "%.1f"), cell(row, "first", "%.0f")
    if (failed[row]) flaws = flaws sprintf("! %s of %s: %d of %d requests failed\n", name[1], name[2], failed[row], asked[row])
  }
  printf "%s", flaws
  for (i = 1; i <= row_count; i++) { split(rows[i], name, SUBSEP); added(rows[i], name[1]); waited(rows[i], name[1]); streamed(rows[i], name[1]); woken(rows[i], name[1]) }
  if (smoke) {
    if (row_count == 0 || broken != "" || flaws != "") { print "bench/run: figures missing or failed:" broken > "/dev/stderr"; exit 1 }
    exit
  }
  print ""
  target("cached GET: CPU over the echo's, at most 1.25", median("get" SUBSEP "gateway", "ratio"), 1.25, "")
  target("one-way POST: CPU over the echo's, at most 1.5 (2 first)", median("post" SUBSEP "gateway", "ratio"), 1.5, "")
  target("one-way POST, one connection: p50, at most 150 us", median("one" SUBSEP "gateway", "p50"), 150, " us")
  beyond("rate"); beyond("post")
  growth("get"); growth("post")
  target("1,000 streams, 150,000 events/s: p99, at most 5 ms", median("streams-1000x150" SUBSEP "gateway", "p99") / 1000, 5, " ms")
  target("1,000 streams, 1,000,000 events/s: p99, at most 25 ms", median("streams-1000x1000" SUBSEP "gateway", "p99") / 1000, 25, " ms")
  target("start to the first answer, at most 50 ms", median("start" SUBSEP "gateway", "first"), 50, " ms")
  target("start to the first stored record", median("start-post" SUBSEP "gateway", "first"), 50, " ms")
  target("start with 10,000 records to a cached item, at most 300 ms", median("start-10000" SUBSEP "gateway", "first"), 300, " ms")
  target("resident when idle, at most 25 MiB", median("idle" SUBSEP "gateway", "resident"), 25, " MiB")
}
