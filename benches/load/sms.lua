-- wrk: a code for another phone with each request, or (`-- wrong`) a wrong code from another phone with each.
local path, rest, n = "/auth/sms/send", "", 0

function init(args)
    if args[1] == "wrong" then
        path, rest = "/auth/sms/login", ',"code":"000000"'
    end
    math.randomseed(os.time())
    -- Each run counts in a range of its own.
    n = math.random(0, 6000) * 1000000
end

function request()
    n = n + 1
    local body = string.format('{"phone":"1%010d"%s}', 3000000000 + n, rest)
    return wrk.format("POST", path, { ["Content-Type"] = "application/json" }, body)
end
