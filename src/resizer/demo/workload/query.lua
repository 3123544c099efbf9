-- The queries: sysbench's own oltp_read_write, and a line for each transaction with its end and its duration.
--
--   q END_S DURATION_S        a transaction of 20 queries was answered
--   e END_S WORDS             it was not
package.path = debug.getinfo(1, "S").source:match("^@(.*/)") .. "?.lua;" .. package.path
require("oltp_read_write")
local clock = require("clock")
sysbench.cmdline.options.stop_file = { "The load ends when this file is there", "" }
sysbench.cmdline.options.pace = { "Transactions a second of all threads; 0: as fast as can be", 0 }

local transaction = event

-- Two transactions in each other's way are no failure: the database undoes one (a deadlock), and that one begins
-- again, as sysbench does it, too. What it takes counts as the transaction's own time.
local function answer(thread_id)
   local is_good, failure
   repeat
      is_good, failure = pcall(transaction, thread_id)
   until is_good or type(failure) ~= "table" or clock.is_over()
   return is_good, failure
end

-- A paced thread begins a transaction at most so often. What a stall cost is not made up for: a dip stays one.
function thread_run(thread_id)
   local pause = sysbench.opt.pace > 0 and sysbench.opt.threads / sysbench.opt.pace or 0
   repeat
      local began = clock.now()
      local is_good, failure = answer(thread_id)
      local ended = clock.now()
      if is_good then
         clock.say("q %.6f %.6f", ended, ended - began)
      else
         clock.say("e %.6f %s", ended, clock.words(failure))
         clock.sleep(0.01) -- a server that is gone must not make a flood of lines
      end
      if began + pause > ended then clock.sleep(began + pause - ended) end
   until clock.is_over()
   clock.flush()
end
