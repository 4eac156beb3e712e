package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"testing"
)

// Whatever an issuer serves as its key set: what is read of it are keys that verify, each with an id of its own and one
// algorithm that is its type's, and the rest is left out with a reason.
func FuzzJWKS(f *testing.F) {
	for _, seed := range []string{
		`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","kid":"b","alg":"ES256","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`,
		`{"keys":[{"kty":"RSA","kid":"c","n":"` + "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd3qqGElvW_VDL5AaWTg0nLVkjRo9z-40RQzuVaE8AkAFmxZzow3x-VJYKdjykkJ0iT9wCS0DRTXu269V264Vf_3jvredZiKRkgwlL9xNAwxXFg0x_XFw005UWVRIkdgcKWTjpBP2dPwVZ4WWC-9aGVd-Gyn1o0CLelf4rEjGoXbAAEgAqeGUxrcIlbjXfbcmw" + `","e":"AQAB"}]}`,
		`{"keys":[{"kty":"oct","kid":"d","k":"AAAA"},{"kty":"EC","crv":"P-256","kid":"e","d":"AAAA"},null,1,{}]}`, `{"keys":{}}`, `[]`, ``, `{"keys":[{"kty":"RSA","kid":"f","n":"","e":""}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		keys, skipped, err := parseJWKS(doc, "RS256")
		if (err == nil) != (len(keys) > 0) || len(keys)+len(skipped) > maxKeys {
			t.Fatalf("%d keys, %d left out, %v", len(keys), len(skipped), err)
		}
		if errors.Is(err, errNoKeys) && len(keys) > 0 {
			t.Fatal("there are keys")
		}
		ids := map[string]bool{}
		for _, k := range keys {
			if ids[k.id] || CheckName(k.id) != nil || k.method == nil {
				t.Fatalf("%+v", k)
			}
			ids[k.id] = true
			switch public := k.public.(type) {
			case ed25519.PublicKey:
				if len(public) != ed25519.PublicKeySize || k.name != algEdDSA && k.name != algEd25519 {
					t.Fatalf("%s: %d bytes", k.name, len(public))
				}
			case *ecdsa.PublicKey:
				if k.name[:2] != "ES" {
					t.Fatalf("an elliptic key for %s", k.name)
				}
			case *rsa.PublicKey:
				if k.name[:2] != "RS" && k.name[:2] != "PS" || public.N.BitLen() < leastRSABits || public.E < 3 {
					t.Fatalf("%s: %d bits", k.name, public.N.BitLen())
				}
			default:
				t.Fatalf("a key of %T", public)
			}
			// A signature of nobody is none, and verifying it comes to an end.
			if k.method.Verify("a.b", []byte("signature"), k.public) == nil {
				t.Fatalf("%s verifies everything", k.name)
			}
		}
	})
}

// Whatever a key file holds, it is a key of a known type or refused.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		public, err := parsePublicKey(content)
		if err != nil {
			return
		}
		if k, err := newPublicKey("k1", public, "", "RS256"); (err == nil) != (k != nil) || k != nil && k.method == nil {
			t.Fatalf("%+v, %v", k, err)
		}
	})
}
