# docker build -t isofield .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" isofield train --config imnet/small --set data.path=datasets/mine
# Without a GPU: --build-arg TORCH_INDEX=ADDRESS, that of torch's CPU wheels (its "Get started" page has it); with one:
# docker run --gpus all. At run time nothing is fetched: `docker run --rm --network none --user "$(id -u):$(id -g)"
# -v "$PWD:/data" isofield generate --run pretrained/points --input cloud.ply --out meshes`. Of weights that come along
# results go into the home unless --out says where: the container's home is gone with it.
FROM python:3.12-slim
ARG TORCH_INDEX=""
WORKDIR /opt/isofield
COPY . .
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url $TORCH_INDEX} -c constraints.txt torch \
 && pip install --no-cache-dir -c constraints.txt ".[images]"
# Kernels compiled at first use go into the home, which any user of --user may write.
ENV HOME=/tmp
USER 1000
WORKDIR /data
ENTRYPOINT ["isofield"]
CMD ["--help"]
