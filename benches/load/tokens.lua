-- wrk script: GET with tokens from a file (one a line), in turn. Arguments: FILE FIRST. FILE may be "-": no Authorization.

require("summary")

local requests, at = {}, 0

function init(args)
  local first = tonumber(args[2] or "0")
  if args[1] == "-" then
    requests[1] = wrk.format("GET")
  else
    for token in io.lines(args[1]) do
      requests[#requests + 1] = wrk.format("GET", nil, { Authorization = "Bearer " .. token })
    end
  end
  at = first % #requests
end

function request()
  at = at % #requests + 1
  return requests[at]
end
