-- wrk script: each request is a login with a code of its own. Argument: PREFIX of the codes.

require("summary")

local prefix, count = "", 0

function init(args)
  prefix = args[1]
end

function request()
  count = count + 1
  local body = string.format('{"code":"%s%d"}', prefix, count)
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
end
