// Package keyring is what ingest knows of the API keys: a file of them, as operators write it, and a [Ring] of them, as
// requests are held against it.
//
// The file is JSON and read strictly, because a misspelt limit that is passed over is none:
//
//	{
//	  "keys": [
//	    {
//	      "id": "acme-1",
//	      "sha256": "5f0b…",
//	      "grants": ["acme:*"],
//	      "clicks_per_second": 200,
//	      "burst": 1000,
//	      "not_after": "2027-01-31T00:00:00Z",
//	      "hmac_secret_file": "acme-1.secret"
//	    }
//	  ]
//	}
//
// It holds nothing that a key could be made of again: sha256 is the hash of the key's secret. What requests are signed with
// must be known as it is, so it lies in a file of its own, beside this one unless its path is absolute.
package keyring
