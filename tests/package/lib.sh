# shellcheck shell=bash
# What the tests of the artefacts share. Each runs in namespaces of its own (mounts, processes, network), so that nothing outlives it
# and no port is anybody else's.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck disable=SC2034  # the tests use it
version=$(sed -n '/^\[package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
work=$(mktemp -d)

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

passed() {
    printf 'ok: %s (%d s)\n' "$*" "$SECONDS"
}

# says TEXT FILE: whether the file has the text.
says() {
    grep -qF -- "$1" "$2" || {
        cat "$2" >&2
        fail "\"$1\" is not said"
    }
}

# ends CODE FILE COMMAND...: runs it, keeps what it prints, and compares its exit code. What runs on is a failure after half a minute.
ends() {
    local expected=$1 into=$2 code=0
    shift 2
    "$@" >"$into" 2>&1 &
    local pid=$! tries=0
    while kill -0 "$pid" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "it runs on: $*"
        read -rt 0.1 <> <(:) || true
    done
    wait "$pid" || code=$?
    [ "$code" = "$expected" ] || {
        cat "$into" >&2
        fail "exit code $code instead of $expected: $*"
    }
}

# until_ready PID: waits until menshen, which logs to $work/log, is ready, at most 20 seconds.
until_ready() {
    local tries=0
    until curl -sf -o /dev/null http://127.0.0.1:9090/readyz; do
        kill -0 "$1" 2>/dev/null || {
            cat "$work/log" >&2
            fail "menshen ended before it was ready"
        }
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || fail "menshen is not ready after 20 seconds"
        read -rt 0.1 <> <(:) || true
    done
}

# stop PID: SIGTERM to menshen, which may be a child of PID, and a clean end. No other one is in this namespace.
stop() {
    pkill -TERM -x menshen
    wait "$1" || fail "menshen did not end cleanly"
}

# A login in development mode, and a call that reaches the backend as that user.
login_and_call() {
    local token
    token=$(curl -sf http://127.0.0.1:8080/auth/wechat/login -H 'Content-Type: application/json' -d "{\"code\": \"$1\"}" |
        sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p')
    [ -n "$token" ] || fail "no login"
    curl -sf http://127.0.0.1:8080/orders -H "Authorization: Bearer $token" >"$work/orders" || fail "the call is refused"
    says '"state": "authenticated"' "$work/orders"
}

# Starts a backend that says what it was told; it ends with the namespace.
start_backend() {
    python3 -B deploy/docker/backend.py 127.0.0.1:3000 >"$work/backend" &
}

# Takes away what this test has mounted, and its files.
clean_up() {
    awk -v below="$work/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount --lazy
    rm -rf "$work"
}
trap clean_up EXIT
