-- Every request has a target, a request id and a cookie of its own; all else is what a browser sends. The texts between them are made once.
local pieces

function init(_)
   local lines = { "Host: " .. wrk.headers["Host"] }
   for name, value in pairs(wrk.headers) do
      if name ~= "Host" and name ~= "Cookie" then lines[#lines + 1] = name .. ": " .. value end
   end
   pieces = {
      "GET /items/",
      "?page=1 HTTP/1.1\r\n" .. table.concat(lines, "\r\n") .. "\r\nX-Request-Id: ",
      "\r\nCookie: session=0123456789abcdef",
      "\r\n\r\n",
   }
end

local number = os.time() * 1048576

function request()
   number = number + 1
   local id = string.format("%016x", number)
   return pieces[1] .. id .. pieces[2] .. id .. pieces[3] .. id .. pieces[4]
end
