# frozen_string_literal: true

# A Flask backend as users of Capistrano deploy it: the virtual environment and .env are linked from shared/, a systemd unit
# is restarted, and the health endpoint is asked until it answers.
set :application, "projects"
set :repo_url, ENV.fetch("BENCH_REPOSITORY")
set :branch, "main"
set :repo_tree, "api"
set :deploy_to, "/srv/projects"
set :linked_dirs, %w[venv]
set :linked_files, %w[.env]

namespace :backend do
  task :prepare do
    on roles(:app) do
      within release_path do
        execute "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt",
                "gunicorn==#{ENV.fetch('BENCH_GUNICORN')}"
      end
      execute "cd #{release_path} && set -a && . ./.env && set +a && venv/bin/flask db upgrade"
    end
  end

  task :restart do
    on roles(:app) do
      execute :sudo, "systemctl", "restart", "projects.service"
      execute "for try in $(seq 300); do curl -fs -o /dev/null http://127.0.0.1/api/health && exit 0; sleep 0.1; done; exit 1"
    end
  end
end

after "deploy:updated", "backend:prepare"
after "deploy:published", "backend:restart"
