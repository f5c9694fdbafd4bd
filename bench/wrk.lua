-- For wrk: `wrk ... -s wrk.lua URL -- METHOD BODY_BYTES KEYS`. With KEYS above 0, a random number below it is added to the path.
-- Prints one line of name=value, as bench/load does.

local PREPARED = 4096

function init(args)
  local method, body_bytes, keys = args[1], tonumber(args[2]), tonumber(args[3])
  wrk.method = method
  if body_bytes > 0 then
    wrk.headers["content-type"] = "application/json"
    wrk.body = '{"name":"' .. string.rep("x", body_bytes - #'{"name":""}') .. '"}'
  end
  if keys > 0 then
    math.randomseed(1)
    local requests = {}
    for index = 1, PREPARED do
      requests[index] = wrk.format(method, wrk.path .. math.random(0, keys - 1))
    end
    local next = 0
    -- Defined only here: with a fixed request, wrk need not call Lua for each.
    request = function()
      next = next % PREPARED + 1
      return requests[next]
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  print(string.format("requests=%d errors=%d duration_us=%d p50_us=%d p99_us=%d p999_us=%d", summary.requests, failed,
    summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
