-- wrk script: requests with tokens from a file (one a line), in turn. Arguments: FILE FIRST [BODY]. FILE may be "-": no
-- Authorization. With BODY, the name of a file, it is POST with the file's content, else GET.

require("summary")

local requests, at = {}, 0

function init(args)
  local first = tonumber(args[2] or "0")
  local method, body = "GET", nil
  if args[3] then
    local file = assert(io.open(args[3], "rb"))
    method, body = "POST", file:read("*a")
    file:close()
  end
  if args[1] == "-" then
    requests[1] = wrk.format(method, nil, nil, body)
  else
    for token in io.lines(args[1]) do
      requests[#requests + 1] = wrk.format(method, nil, { Authorization = "Bearer " .. token }, body)
    end
  end
  at = first % #requests
end

function request()
  at = at % #requests + 1
  return requests[at]
end
