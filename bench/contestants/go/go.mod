module ambit/bench

go 1.18
