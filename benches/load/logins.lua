-- wrk script: each request is a login with a code of its own. Argument: PREFIX of the codes.
-- The last line printed is JSON for compare.py.

local prefix, count = "", 0

function init(args)
  prefix = args[1]
end

function request()
  count = count + 1
  local body = string.format('{"code":"%s%d"}', prefix, count)
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout))
end
