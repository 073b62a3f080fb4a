# docker build -t suite .
# docker run -v "$PWD:/work" suite python -m apps.mnist_cnn      into a folder that user 1000 may write
# docker run -v "$PWD:/work" -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 suite       serves, to this machine
# For GPUs: build with --build-arg EXTRAS=serve,render,gpu, run with --gpus all.
FROM python:3.11-slim
ARG EXTRAS=serve,render
COPY . /suite
RUN pip install --no-cache-dir "/suite[$EXTRAS]" && rm -r /suite
# Least privilege: a user who owns one folder.
RUN useradd --uid 1000 --create-home suite && install -d -o suite /work
USER 1000
WORKDIR /work
ENV TFDS_DATA_DIR=/work/tensorflow_datasets
EXPOSE 8500 8501
HEALTHCHECK --start-period=2m CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8501/healthz')"]
CMD ["python", "-m", "suite.serve", "--host", "0.0.0.0"]
