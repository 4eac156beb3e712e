package deployment

import "testing"

// Whatever stands in the control topic under the deployment's key: what is read of it can be counted by, and is what is
// written of it.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x06, 'c', 'l', 'i', 'c', 'k', 's', 0x10, 0x03, 0x18, 0xe8, 0x07, 0x20, 0x80, 0xdd, 0xdb, 0x01, 0x28, 0x01, 0x30, 0x01})
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decode(value)
		if err != nil {
			return
		}
		if err := r.Check(); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decode(again); err != nil || same != r {
			t.Fatalf("%+v is written and read as %+v, %v", r, same, err)
		}
	})
}
