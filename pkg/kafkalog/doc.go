// Package kafkalog is all that Linkpulse knows of Apache Kafka: an idempotent producer with group commit, a follower of
// one partition, and the little administration that is needed. It is the only package that imports the Kafka client
// (segmentio/kafka-go), of which it uses requests and connections and none of the higher layers.
//
// # Why not the client's Writer
//
// Its batches wait for a linger, and a batch that was closed is never merged with the next: with acks slower than the
// linger its queue grows without bound (acks of 20 ms and a linger of 1 ms gave a mean latency of 17 s at 850 messages/s).
// It has no producer id, so a retry whose first attempt was appended after all doubles every record. And it does not
// refresh metadata when a leader moves.
//
// Here each partition has one batch on its way. While that is out, records gather in the next one, which goes out as soon
// as the answer is there: latency is one round trip when there is little to do, and batches grow by themselves when there
// is much. What has gathered for all partitions of a leader goes in one request, because it is requests that cost; a
// partition in trouble has requests of its own until it is out of it. Each batch carries a producer id, an epoch and a
// sequence (KIP-98), and a retry sends the same bytes, so that the broker recognises it.
//
// # Why not the client's Reader
//
// It skips a gap that retention cut without a word, begins at "the end" only when the first fetch happens, and hangs for
// its whole MaxWait on a connection that is dead.
//
// # What is on the wire
//
// What is sent and read a thousand times a second is encoded here and goes over the client's connections: produce requests,
// and fetches by the topic's id with the records in them, which are read where they lie. The client finds brokers and
// leaders, and does everything else: administration, groups, and records of foreign producers that are compressed or of
// before 2017.
//
// # Time
//
// Everything that waits uses package time and connections that a caller can provide, so that a whole cluster runs in
// virtual time (testing/synctest).
package kafkalog
