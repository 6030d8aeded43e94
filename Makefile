# Recipes that anyone can run. Each is a script: `make -n TARGET` shows which.
.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-chart test-long check bench-admission bench-agent bench-controller bench-demand bench-market bench-podstart fmt images release up down status

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## cluster, images, chart, demo and its verdict table (MBCAS_CONTEXT=name: on a cluster of yours)
	@deploy/prerequisites.sh demo
	@deploy/demo/run.sh

test: ## everything CI runs: check, unit tests, and the suite on a real cluster (Linux, root)
	@deploy/test.sh all

test-unit: ## the tests that run anywhere: no root, no cluster
	@deploy/test.sh unit

test-chart: ## the chart as helm 3 and helm 4 render it, against the schemas of Kubernetes 1.33 to 1.37
	@deploy/test.sh chart

test-long: ## what admission holds for every pod, and the elections, on a million generated ones of each
	@deploy/test.sh long

check: ## formatting, lints, every crate alone, docs, dependencies, scripts
	@deploy/prerequisites.sh check
	@deploy/check.sh

bench-admission: ## reviews per second and core, beside a webhook of controller-runtime (Linux, 2 cores, quiet)
	@deploy/bench/admission.sh

bench-agent: ## what the demand agent costs, beside node_exporter (Linux)
	@deploy/bench/agent.sh

bench-demand: ## how demand and limits follow a load, drawn, on the local cluster (Linux, root, quiet, 18 min)
	@deploy/bench/demand.sh

bench-controller: ## what the controller keeps in memory of 150,000 pods (Linux, 12 min)
	@deploy/bench/controller.sh

bench-market: ## participants cleared per second and core, and a whole cluster's plan
	@cargo bench --locked --quiet -p mbcas-market

bench-podstart: ## what injection adds to an app's start, on the local cluster (Linux, root, quiet)
	@deploy/bench/podstart.sh

fmt: ## format the code
	@cargo fmt --all

images: ## build the images, and load them where the cluster finds them
	@deploy/images.sh

release: ## images, chart, bills of materials and sums, signed by MBCAS_SIGNING_KEY, in target/release-VERSION
	@deploy/release.sh

up: ## start the local cluster, or mend it
	@deploy/prerequisites.sh cluster
	@deploy/local/cluster up

down: ## remove the local cluster and every trace of it
	@deploy/local/cluster down

status: ## what of the local cluster runs
	@deploy/local/cluster status
