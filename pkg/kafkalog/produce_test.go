package kafkalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answering is a connection to a broker that notes a request and gives an answer.
type answering struct {
	sent   bytes.Buffer
	answer io.Reader
}

func (a *answering) Write(b []byte) (int, error) { return a.sent.Write(b) }
func (a *answering) Read(b []byte) (int, error)  { return a.answer.Read(b) }

const requestID = 77

func testRequest(version int16) *produceRequest {
	return &produceRequest{
		topic: topic, clientID: "linkpulse", id: requestID, timeout: 2500 * time.Millisecond, version: version, frames: &sync.Pool{},
		parts: []producePart{{partition: 3, set: oneRecord("a")}, {partition: 0, set: oneRecord("bc")}},
	}
}

// oneRecord is a record set of one message, ready to be sent.
func oneRecord(value string) []byte {
	return withSize(sealed([]Message{{Key: []byte("x7Kp2"), Value: []byte(value)}}, session{id: 1}, 0))
}

// answerTo is an answer in wire form, as another client library writes it: to a request for partition 3, which has its
// records, and partition 0, which refuses them.
func answerTo(version int16, id uint32, topics ...string) []byte {
	res := kmsg.NewPtrProduceResponse()
	res.SetVersion(version)
	for _, name := range topics {
		message, blamed := "no", "this one"
		res.Topics = append(res.Topics, kmsg.ProduceResponseTopic{Topic: name, Partitions: []kmsg.ProduceResponseTopicPartition{
			{Partition: 3, BaseOffset: 41, LogAppendTime: 1_700_000_000_000, LogStartOffset: 7},
			{
				Partition: 0, ErrorCode: 87, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, ErrorMessage: &message,
				ErrorRecords: []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: 0, ErrorMessage: &blamed}, {RelativeOffset: 1}},
			},
		}})
	}
	return res.AppendTo(binary.BigEndian.AppendUint32(nil, id))
}

func withSize(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// The library's own encoding is not used any more: another one says whether this is right, in every version.
func TestProduceExchange(t *testing.T) {
	t.Parallel()
	for version := int16(leastProduce); version <= mostProduce; version++ {
		t.Run(strconv.Itoa(int(version)), func(t *testing.T) {
			t.Parallel()
			r := testRequest(-1)
			if !r.Required(map[protocol.ApiKey]int16{protocol.Produce: version}) {
				t.Fatal("it leaves itself to the library")
			}
			conn := &answering{answer: bytes.NewReader(withSize(answerTo(version, requestID, "another", topic)))}
			res, err := r.RawExchange(conn)
			if err != nil {
				t.Fatal(err)
			}
			sent := conn.sent.Bytes()
			if size := int(binary.BigEndian.Uint32(sent)); size != len(sent)-4 {
				t.Fatalf("size %d of %d bytes", size, len(sent)-4)
			}
			head := binary.BigEndian.AppendUint16(nil, 0) // produce
			head = binary.BigEndian.AppendUint16(head, uint16(version))
			head = binary.BigEndian.AppendUint32(head, requestID)
			head = append(append(head, 0, 9), "linkpulse"...)
			body, ok := bytes.CutPrefix(sent[4:], head)
			if !ok {
				t.Fatalf("header %x, want %x", sent[4:], head)
			}
			got := kmsg.NewPtrProduceRequest()
			got.SetVersion(version)
			if err := got.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			if again := got.AppendTo(nil); !bytes.Equal(again, body) {
				t.Fatalf("%x was read as %x", body, again)
			}
			if got.TransactionID != nil || got.Acks != -1 || got.TimeoutMillis != 2500 || len(got.Topics) != 1 || got.Topics[0].Topic != topic {
				t.Fatalf("request %+v", got)
			}
			for i, p := range got.Topics[0].Partitions {
				if p.Partition != r.parts[i].partition || !bytes.Equal(p.Records, r.parts[i].set[setSizeLen:]) {
					t.Errorf("partition %d: %x", p.Partition, p.Records)
				}
			}
			want := []partAnswer{{partition: 3, offset: 41, appended: 1_700_000_000_000}, {partition: 0, code: 87, offset: -1, appended: -1}}
			if version >= 8 {
				want[1].message = "no"
			}
			if parts := res.(*produceAnswer).parts; !slices.Equal(parts, want) {
				t.Fatalf("answer %+v, want %+v", parts, want)
			}
		})
	}
}

func TestProduceExchangeFails(t *testing.T) {
	t.Parallel()
	whole := answerTo(mostProduce, requestID, topic)
	for name, tc := range map[string]struct {
		version int16
		answer  []byte
		want    error
		stays   bool // nothing is sent
	}{
		"too old a broker": {2, nil, errProduceVersion, true},
		"not asked":        {9, nil, errProduceVersion, true},
		"no answer":        {mostProduce, nil, io.EOF, false},
		"cut in the size":  {mostProduce, withSize(whole)[:2], io.ErrUnexpectedEOF, false},
		"cut behind it":    {mostProduce, withSize(whole)[:40], io.ErrUnexpectedEOF, false},
		"too short":        {mostProduce, withSize(whole[:len(whole)-1]), errAnswer, false},
		"too large":        {mostProduce, binary.BigEndian.AppendUint32(nil, mostAnswer+1), errAnswer, false},
		"to another":       {mostProduce, withSize(answerTo(mostProduce, requestID+1, topic)), errCorrelation, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testRequest(tc.version)
			conn := &answering{answer: bytes.NewReader(tc.answer)}
			if _, err := r.RawExchange(conn); !errors.Is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			if stays := conn.sent.Len() == 0; stays != tc.stays || r.leaves.revoke() != tc.stays {
				t.Fatalf("%d bytes were sent", conn.sent.Len())
			}
		})
	}
}

func TestProduceGoesToTheLeader(t *testing.T) {
	t.Parallel()
	cluster := protocol.Cluster{
		Brokers: map[int32]protocol.Broker{1: {ID: 1}, 2: {ID: 2}},
		Topics: map[string]protocol.Topic{topic: {Partitions: map[int32]protocol.Partition{
			0: {Leader: 2}, 1: {Leader: 1}, 2: {Leader: 7}, 3: {Leader: 2},
		}}},
	}
	for name, tc := range map[string]struct {
		topic string
		parts []int32
		want  int32
		err   error
	}{
		"one leader":     {topic, []int32{3, 0}, 2, nil},
		"several":        {topic, []int32{0, 1}, 0, errSeveralLeaders},
		"none":           {topic, []int32{2}, 0, protocol.ErrNoLeader},
		"no partition":   {topic, []int32{0, 4}, 0, protocol.ErrNoPartition},
		"no such topic":  {"another", []int32{0}, 0, protocol.ErrNoTopic},
		"nobody to lead": {topic, []int32{0, 2}, 0, protocol.ErrNoLeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &produceRequest{topic: tc.topic}
			for _, p := range tc.parts {
				r.parts = append(r.parts, producePart{partition: p})
			}
			b, err := r.Broker(cluster)
			if !errors.Is(err, tc.err) || err == nil && b.ID != tc.want {
				t.Fatalf("to %d, %v; want %d, %v", b.ID, err, tc.want, tc.err)
			}
			if v, reason := judge(err); err != nil && (v != refused || reason != "leader") {
				t.Fatalf("judged %d, %q", v, reason)
			}
		})
	}
}

// However long an answer is, a request allocates what it hands out: the answer and its parts.
func TestProduceExchangeAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	r := testRequest(mostProduce)
	answer := withSize(answerTo(mostProduce, requestID, topic))
	conn := &answering{answer: bytes.NewReader(answer)}
	exchange := func() {
		r.leaves.state.Store(departureOpen)
		conn.sent.Reset()
		conn.answer.(*bytes.Reader).Reset(answer)
		if _, err := r.RawExchange(conn); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(200, exchange); n > 3 { // the third is what the partition that refuses says
		t.Fatalf("%v allocations", n)
	}
}

func FuzzProduceAnswer(f *testing.F) {
	for version := int16(leastProduce); version <= mostProduce; version++ {
		f.Add(answerTo(version, requestID, "another", topic), version)
	}
	f.Fuzz(func(t *testing.T, b []byte, version int16) {
		answer, err := readProduceAnswer(b, version, requestID, topic, 2)
		if (answer == nil) == (err == nil) {
			t.Fatalf("%v, %v", answer, err)
		}
		// A partition takes 22 bytes at least.
		if answer != nil && len(answer.parts) > len(b)/22 {
			t.Fatalf("%d partitions in %d bytes", len(answer.parts), len(b))
		}
	})
}
