//go:build go1.21

package main

import "context"

// context.AfterFunc came with Go 1.21.
var newerRows = []row{{"on-off-cancel", onOffCancel, nil, 1}}

func onOffCancel(t *thread, iterations uint64) {
	for ; iterations > 0; iterations-- {
		stop := context.AfterFunc(root, fire)
		require(stop(), "it was registered")
	}
}
