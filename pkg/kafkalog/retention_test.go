package kafkalog

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 0)
		for name, want := range map[string]time.Duration{
			"10800000":            3 * time.Hour,
			"-1":                  0,
			"9223372036854775807": 0, // for ever in all but name
		} {
			topic := TopicSpec{Name: "kept-for" + name, Partitions: 1, Replicas: 1, Settings: map[string]string{"retention.ms": name}}
			if err := w.cluster.EnsureTopics(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
			if got, err := w.cluster.Retention(t.Context(), topic.Name); err != nil || got != want {
				t.Errorf("retention.ms=%s: %v, %v, want %v", name, got, err, want)
			}
		}
	})
}

// Who may read a topic need not be allowed to read its settings.
func TestRetentionIsNotTold(t *testing.T) {
	t.Parallel()
	for code, tells := range map[int16]bool{kerr.TopicAuthorizationFailed.Code: true, kerr.UnknownServerError.Code: false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			w.fake.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
				w.fake.KeepControl()
				describe, ok := req.(*kmsg.DescribeConfigsRequest)
				if !ok {
					return nil, nil, false
				}
				res, ok := describe.ResponseKind().(*kmsg.DescribeConfigsResponse)
				if !ok {
					return nil, nil, false
				}
				res.Resources = []kmsg.DescribeConfigsResponseResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic, ErrorCode: code}}
				return res, nil, true
			})
			if got, err := w.cluster.Retention(t.Context(), topic); got != 0 || (err == nil) != tells {
				t.Errorf("code %d: %v, %v", code, got, err)
			}
		})
	}
}
