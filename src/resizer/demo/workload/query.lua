-- The queries: sysbench's own oltp_read_write, and a line for each transaction with its end and its duration.
--
--   q END_S DURATION_S        a transaction of 20 queries was answered
--   e END_S WORDS             it was not
package.path = debug.getinfo(1, "S").source:match("^@(.*/)") .. "?.lua;" .. package.path
require("oltp_read_write")
local clock = require("clock")
sysbench.cmdline.options.stop_file = { "The load ends when this file is there", "" }

local transaction = event

function thread_run(thread_id)
   repeat
      local began = clock.now()
      local is_good, failure = pcall(transaction, thread_id)
      local ended = clock.now()
      if is_good then
         clock.say("q %.6f %.6f", ended, ended - began)
      else
         clock.say("e %.6f %s", ended, clock.words(failure))
         clock.sleep(0.01) -- a server that is gone must not make a flood of lines
      end
   until clock.is_over()
   clock.flush()
end
