-- The filling: bulk inserts of rows whose content follows from their number, and a line for each that the server
-- has acknowledged. A row is acknowledged or it is not; nothing is tried twice.
--
--   i END_S DURATION_S ROWS   the server has acknowledged that many more rows
--   x END_S WORDS             it refused, and the filling ends
package.path = debug.getinfo(1, "S").source:match("^@(.*/)") .. "?.lua;" .. package.path
local clock = require("clock")
sysbench.cmdline.options = {
   stop_file = { "The load ends when this file is there", "" },
   rows = { "Rows an insert", 64 },
   mib_per_s = { "At most so many MiB a second; 0: as fast as can be", 0 },
   max_mib = { "Stop inserting, and idle, after so many MiB", 0 },
}
local ROW_BYTES = 4096

function thread_init()
   connection = sysbench.sql.driver():connect()
end

local function insert(first, rows)
   connection:query(string.format(
      "INSERT INTO filling (id, body) SELECT seq, REPEAT(MD5(seq), 128) FROM seq_%d_to_%d", first, first + rows - 1))
end

function event() end -- sysbench wants one; `thread_run` below takes the place of its loop

function thread_run()
   local rows, began, sent = sysbench.opt.rows, clock.now(), 0
   local bytes_per_s, most = sysbench.opt.mib_per_s * 1048576, sysbench.opt.max_mib * 1048576
   while not clock.is_over() do
      local now = clock.now()
      local due = bytes_per_s == 0 and now or began + sent * ROW_BYTES / bytes_per_s
      if most > 0 and sent * ROW_BYTES >= most then
         clock.sleep(0.1)
      elseif due > now then
         clock.sleep(math.min(due - now, 0.1))
      else
         local is_good, failure = pcall(insert, sent + 1, rows)
         local ended = clock.now()
         if not is_good then
            clock.say("x %.6f %s", ended, clock.words(failure))
            break
         end
         sent = sent + rows
         clock.say("i %.6f %.6f %d", ended, ended - now, rows)
      end
   end
   clock.flush()
end
