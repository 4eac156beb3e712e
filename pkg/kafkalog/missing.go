package kafkalog

import "github.com/segmentio/kafka-go"

// ErrNoTopic is wrapped by what requests return that concern a topic, or a partition of one, that the brokers do not have.
var ErrNoTopic error = kafka.UnknownTopicOrPartition
