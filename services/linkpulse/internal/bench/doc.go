// Package bench is `linkpulse bench`: dashboards that watch, senders that post clicks at a given rate, and what the
// system under test did with them.
//
// # What is measured
//
// The load is open: when each click is due, and for which link, is drawn before the run (exponential gaps, so clicks come
// in the bursts that independent visitors make) and does not wait for the system. The latency of a click at a dashboard
// runs from the moment at which the click was due until the dashboard has read the frame whose count covers it. A system
// that stalls is charged with the wait of every click that was due meanwhile (no coordinated omission), and so is a load
// generator that comes late; how late it was is reported beside it, so that one can tell the two apart. So is who else
// used the machine's CPUs: what others took was taken from the server or from the generator.
//
// One goroutine generates the load and reads what comes of it. It waits for the next due click and for a thousand sockets
// with one system call, and takes the time of a frame when it has read it. That costs it about a third of what the
// server's frames cost. Elsewhere that is another machine's affair, so where there are two CPUs the generator has one of
// them for itself and the server has the others: neither takes what the other needs, at the price that a server on a
// machine with two cores has one of them. The result says who was where. On CPUs that both share, what the generator
// takes shows in the latency.
//
// Which clicks a frame covers is known exactly: links of a run are new, so counts start at 0; a link's clicks are posted in
// the order in which they are due and never in two requests that are on their way at a time; a request without an answer
// is sent again with the same event ids until it has one. So count n covers the first n clicks of the link. Every
// frame is checked on the way (previous count + delta == count), and the run ends only when every dashboard has been told
// every click, or reports what is missing.
//
// The server is another process, so its CPU time is its own: what /proc says of user and system time between the end of
// the warm-up and the end of the load, over the frames that arrived in that time. With `linkpulse dev` as the server that
// is the broker, ingest and all gateways together. It runs without authentication unless it is told otherwise, since
// figures of before there was any are to be compared with. Bytes per connection are
// the growth of the server's memory from before the first dashboard to all of them subscribed and idle: resident
// (anonymous, so that pages of the program do not count), and in use as heap and stacks after a collection, where the
// server's admin port tells.
package bench
