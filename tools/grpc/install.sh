#!/usr/bin/env bash
# What the gRPC tests call and are called by, made in one folder (target/grpc of the repository): install.sh [--bench] [FOLDER]
#   FOLDER/venv     a Python with grpcio, and the stubs of protos/ among its packages: for client.py, server.py and web.py
#   FOLDER/bin      echo (go/, client and server), grpcurl, and with --bench ghz
# Needs network, python3 with venv (installed by apt-get when it is missing and this is root) and go, which is not
# installed: without it the exit status is 3. A part whose pins, sources and interpreter are those of its last run is left as it is.
set -euo pipefail
grpcurl=v1.9.4
ghz=v0.121.0

here=$(cd "$(dirname "$0")" && pwd)
bench=
folder=
for argument; do
  case $argument in
    --bench) bench=yes ;;
    -*) echo "usage: install.sh [--bench] [FOLDER]" >&2; exit 1 ;;
    *) folder=$argument ;;
  esac
done
folder=${folder:-$here/../../target/grpc}
mkdir -p "$folder/bin" "$folder/made"
folder=$(cd "$folder" && pwd)
cd "$here"
# One at a time: tests that run at once may each begin with this.
exec 9> "$folder/made/lock"
flock 9

say() { echo "grpc: $*" >&2; }

# Makes a part unless it was made of just this: part NAME WHAT-IT-IS-MADE-OF COMMAND...
part() {
  local name=$1 sum; sum=$(sha256sum <<< "$2"); shift 2
  [[ -f $folder/made/$name && $(<"$folder/made/$name") == "$sum" ]] && return
  say "$name"
  rm -f "$folder/made/$name"
  "$@"
  echo "$sum" > "$folder/made/$name"
}

sources() { cat "$@" | sha256sum; }

make_python() {
  rm -rf "$folder/venv" "$folder/made/stubs"
  python3 -m venv "$folder/venv"
  "$python" -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.txt
}

make_stubs() {
  local packages; packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$python" -m grpc_tools.protoc --proto_path=protos \
    --python_out="$packages" --grpc_python_out="$packages" echo.proto fanout.proto
}

# Generated code stands beside a copy of the sources, so that the repository stays as it is.
make_echo() {
  local copy=$folder/go plugin
  rm -rf "$copy"
  cp -r go "$copy"
  (
    cd "$copy"
    export CGO_ENABLED=0
    for plugin in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
      go build -mod=readonly -buildvcs=false -o tools/ "$plugin"
    done
    PATH=$copy/tools:$PATH "$python" -m grpc_tools.protoc --proto_path="$here/protos" \
      --go_out=. --go_opt=module=sluice/grpcecho,Mecho.proto=sluice/grpcecho/echopb \
      --go-grpc_out=. --go-grpc_opt=module=sluice/grpcecho,Mecho.proto=sluice/grpcecho/echopb echo.proto
    rm -r tools
    go build -mod=readonly -buildvcs=false -ldflags='-s -w' -o "$folder/bin/echo" .
  )
}

make_tool() { CGO_ENABLED=0 GOBIN=$folder/bin go install -ldflags='-s -w' "$1"; }

if ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
  [[ $(id -u) == 0 ]] && command -v apt-get > /dev/null || { say "needs python3 with venv (Debian: python3-venv)"; exit 2; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv > /dev/null
fi
python=$folder/venv/bin/python
# A venv knows its folder and its interpreter, and does not move.
part python "$(sources requirements.txt) $folder $(python3 -c 'import sys; print(sys.version, sys.base_prefix)')" make_python
part stubs "$(sources protos/*)" make_stubs

command -v go > /dev/null || { say "needs go $(sed -n 's/^go //p' go/go.mod) or newer"; exit 3; }
version=$(go env GOVERSION)
part echo "$(sources protos/echo.proto go/*) $version" make_echo
part grpcurl "$grpcurl $version" make_tool "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl"
if [[ -n $bench ]]; then
  part ghz "$ghz $version" make_tool "github.com/bojand/ghz/cmd/ghz@$ghz"
fi
