-- The demo's clock and its lines: what both loads have in common.
--
-- Times are CLOCK_MONOTONIC in seconds, as Python's time.monotonic() has them, so that a load's lines and the
-- demo's own measurements lie on one axis. Lines go out at most a tenth of a second late, whole.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long nanoseconds; } resizer_time;
int clock_gettime(int clock, resizer_time *value);
int usleep(unsigned int microseconds);
]]

local clock = {}
local value = ffi.new("resizer_time")
local lines, flushed = {}, 0

function clock.now()
   ffi.C.clock_gettime(1, value)
   return tonumber(value.seconds) + tonumber(value.nanoseconds) / 1e9
end

function clock.sleep(seconds)
   ffi.C.usleep(math.min(seconds, 0.5) * 1e6)
end

function clock.flush()
   io.stdout:write(table.concat(lines))
   io.stdout:flush()
   lines, flushed = {}, clock.now()
end

function clock.say(format, ...)
   lines[#lines + 1] = string.format(format, ...) .. "\n"
end

-- Whether the demo wants the load to end: it makes a file. Looked at ten times a second.
function clock.is_over()
   if clock.now() - flushed < 0.1 then return false end
   clock.flush()
   local file = io.open(sysbench.opt.stop_file)
   if file then file:close() end
   return file ~= nil
end

-- What went wrong, in one line: sysbench throws tables for what may be tried again, texts for the rest.
function clock.words(failure)
   local words = failure
   if type(failure) == "table" then words = (failure.sql_errno or "") .. " " .. (failure.sql_errmsg or "") end
   return (tostring(words):gsub("%s+", " "):gsub("^/%S*:%d+: ", "")) -- without the place in this program
end

return clock
