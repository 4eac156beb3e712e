package click

import "encoding/binary"

// Partition returns the partition of a link among n: Murmur2 as the Java client computes it
// (org.apache.kafka.common.utils.Utils.murmur2, toPositive), so that Java producers and librdkafka with
// partitioner=murmur2_random put a link's clicks in the same partition. n is the partition count of the deployment
// record, never the cluster's: a topic that was given more partitions keeps every link where it was.
func Partition[T ~string | ~[]byte](link T, n int) int32 {
	// Partition counts are small; the modulus of two int32 is an int32.
	return int32(murmur2([]byte(link))&0x7fffffff) % int32(n) //nolint:gosec // masked to 31 bits; n is a Kafka partition count
}

func murmur2(data []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data)) //nolint:gosec // a link id is at most 128 bytes
	for len(data) >= 4 {
		k := binary.LittleEndian.Uint32(data)
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
