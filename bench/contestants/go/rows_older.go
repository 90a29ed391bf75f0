//go:build !go1.21

package main

var newerRows []row
