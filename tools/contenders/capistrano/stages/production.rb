# frozen_string_literal: true

server ENV.fetch("BENCH_HOST"), user: "ops", roles: %w[app], ssh_options: {
  keys: [ENV.fetch("BENCH_KEY")], keys_only: true, verify_host_key: :never, auth_methods: %w[publickey]
}
