#!/usr/bin/env bash
# Answers the requests of a Kafka topic as a service behind the gateway would: each record on the topic that its
# `zilla:reply-to` header names, with `:status` 200 and the same correlation id, key, value and content type.
# Needs: kcat, bash 4.4.
#   reply.sh [OPTION]... BROKERS REQUEST-TOPIC        for example: reply.sh localhost:9092 items-requests
# It says on standard error what it answers, and goes on until it is ended (Ctrl-C). Options:
#   --status N        answer with this status                         (200)
#   --value TEXT      answer with this value                          (the request's)
#   --delay SECONDS   answer so much later, one request at a time     (0)
#   --reply-to TOPIC  answer there                                    (where the request says)
#   --from WHERE      begin at beginning, end, or an offset           (beginning)
#   --until-eof       end when standard input does
#   -X NAME=VALUE     a setting of librdkafka, as kcat takes it       (any number of times)
# For trying things out only. Over the same records it answers again, and the gateway takes the first answer. kcat shows
# headers as `name=value,name=value`: a client that sends `,zilla:reply-to=` in one misleads it (--reply-to does not).
set -euo pipefail

usage() { sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
die()   { echo "reply: $*" >&2; exit 1; }

status=200 delay=0 from=beginning reply_to='' until_eof='' settings=()
unset fixed
while (($# > 0)) && [[ $1 == -* ]]; do
  case $1 in
    --until-eof) until_eof=yes; shift; continue ;;
    --status | --value | --delay | --reply-to | --from | -X) (($# > 1)) || usage ;;
    *) usage ;;
  esac
  case $1 in
    --status) status=$2 ;; --value) fixed=$2 ;; --delay) delay=$2 ;;
    --reply-to) reply_to=$2 ;; --from) from=$2 ;; -X) settings+=(-X "$2") ;;
  esac
  shift 2
done
(($# == 2)) || usage
brokers=$1 topic=$2
command -v kcat > /dev/null || die "kcat is missing: install it (Debian, Ubuntu: apt-get install kcat)"

scratch=$(mktemp -d)
consumer=''
finish() {
  trap '' EXIT INT TERM
  [[ -z $consumer ]] || kill "$consumer" 2> /dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [[ $until_eof ]]; then
  { cat > /dev/null; kill "$$" 2> /dev/null || true; } <&0 &
fi

# The gateway writes the correlation id last, so whatever an id holds, it goes on to the end.
header() {
  local rest=",$headers"
  [[ $rest == *",$1="* ]] || return 0
  rest=${rest##*",$1="}
  [[ $1 == zilla:correlation-id ]] || rest=${rest%%,*}
  printf %s "$rest"
}

# Sends the file `value`, in whole, as the reply to the request that was read last.
answer() {
  local id to type arguments=(-P -b "$brokers" ${settings[@]+"${settings[@]}"})
  id=$(header zilla:correlation-id)
  to=${reply_to:-$(header zilla:reply-to)}
  type=$(header content-type)
  if [[ -z $id || -z $to ]]; then
    echo "reply: a request without a way to answer it is left out: $headers" >&2
    return
  fi
  sleep "$delay"
  arguments+=(-t "$to" -H "zilla:correlation-id=$id" -H ":status=$status")
  [[ -z $type ]] || arguments+=(-H "content-type=$type")
  if [[ -s $scratch/value ]]; then
    [[ ! -s $scratch/key ]] || arguments+=(-k "$(cat "$scratch/key")")
    kcat "${arguments[@]}" "$scratch/value" || die "could not answer $id on $to"
  else
    # kcat sends nothing for an empty file, but does for a line with a key and nothing after it. A null value stays one.
    ((value_length >= 0)) || arguments+=(-Z)
    { cat "$scratch/key"; printf '\x1f'; } | kcat "${arguments[@]}" -K $'\x1f' -D $'\x1e' || die "could not answer $id on $to"
  fi
  echo "reply: $status to $id on $to" >&2
}

# Lengths and headers are lines; key and value follow byte by byte, and may hold anything.
exec {records}< <(exec kcat -C -q -u -b "$brokers" -t "$topic" -o "$from" ${settings[@]+"${settings[@]}"} \
  -f '%K %S\n%h\n%k%s\n')
consumer=$!
while read -r -u "$records" key_length value_length && IFS= read -r -u "$records" headers; do
  head -c "$((key_length > 0 ? key_length : 0))" <&"$records" > "$scratch/key"
  head -c "$((value_length > 0 ? value_length : 0))" <&"$records" > "$scratch/value"
  IFS= read -r -u "$records" _
  if [[ -v fixed ]]; then printf %s "$fixed" > "$scratch/value"; value_length=${#fixed}; fi
  answer
done
die "kcat has ended"
